"""What law and fairness ask of whoever uses a feature, where it is the same for several. No legal advice."""

from __future__ import annotations

#: What holds for every feature of every source, for the catalogue page.
FOR_ALL = (
    "A score that a decision leans on heavily is itself an automated decision: GDPR Art. 22 (CJEU C-634/21), "
    "PIPL Art. 24. The applicant may ask for a person, for an explanation and for another look; Directive (EU)"
    " 2023/2225 Art. 18(8) says so for consumer credit.",
    "Creditworthiness scoring is a high-risk use in the EU (AI Act, Annex III 5(b)); detecting financial fraud"
    " is not.",
    "A refusal needs its actual reasons (US Regulation B, 12 CFR 1002.9(b)(2)): keep what a model used "
    "explainable, feature by feature.",
    "Collect what the purpose needs, on prior and explicit consent with a trail (RBI Digital Lending "
    "Directions 2025). Account data is sensitive personal information in China and needs consent of its own "
    "(PIPL Art. 28, 29).",
    "A null is no fault. It may mean that consent was not given or was withdrawn, and that must not count "
    "against anybody (GDPR Art. 7(4)).",
)

OUTGOINGS = (
    "Expenses are what a creditworthiness check is to rest on (Directive (EU) 2023/2225 Art. 18(3)). The level"
    " follows wealth and family size: set it against income."
)
INCOME = (
    "Income is what a creditworthiness check is to rest on (Directive (EU) 2023/2225 Art. 18(3); RBI Digital "
    "Lending Directions 2025). Part-time pay may not be discounted as such (US Regulation B, 12 CFR "
    "1002.6(b)(5))."
)
COMMITMENTS = (
    "Other financial commitments belong into a creditworthiness check (Directive (EU) 2023/2225 Art. 18(3)), "
    "and an applicant understands them as a reason. To refuse over-indebtedness protects the applicant too."
)
WEALTH = (
    "Assets may be looked at (Directive (EU) 2023/2225 Art. 18(3)). A proxy for wealth, and through it for "
    "origin and age: test outcomes by group."
)
AGE = (
    "Grows with age, and stops growing where somebody cares for children: a proxy for age and sex. Cap it, and"
    " test outcomes by group."
)
INTERRUPTED = (
    "Births, care, illness, disability and migration interrupt work: a proxy for sex and health. Test outcomes"
    " by group, and let the applicant explain."
)
BEHAVIOUR = (
    "Tells how a phone is run, not whether somebody repays: for fraud. Explain it before it counts in a credit"
    " decision (GDPR Art. 22; PIPL Art. 24)."
)
DIGITAL = (
    "Lower among older, rural and poor people, who bank in person: a proxy for age and place. Never a reason "
    "for refusal by itself."
)
CURRENT = (
    "Says how old the evidence is, nothing about a person: ask for fresh data instead of refusing (accuracy, "
    "GDPR Art. 5(1)(d))."
)
