// Command verify checks Assent's evidence with Go's own transparency log packages, and no code of ours.
//
//	verify VKEY checkpoint FILE                    is the checkpoint signed by the log?
//	verify VKEY record ENTRY.tlog-proof ENTRY.record.json    is the record in the log?
//	verify VKEY growth OLD.checkpoint FILE.add-checkpoint    did the log only grow?
//
// It prints what holds and ends with 0, or says what does not and ends with 1. VKEY is the log's verifier key.
package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"sort"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

func main() {
	if len(os.Args) < 4 {
		fail(fmt.Errorf("usage: verify VKEY checkpoint|record|growth FILE..."))
	}
	verifier, err := note.NewVerifier(os.Args[1])
	fail(err)
	files := make([][]byte, len(os.Args)-3)
	for i, name := range os.Args[3:] {
		files[i], err = os.ReadFile(name)
		fail(err)
	}
	switch what := fmt.Sprint(os.Args[2], len(files)); what {
	case "checkpoint1":
		tree := open(files[0], verifier)
		fmt.Printf("checkpoint of %d entries, root %x\n", tree.N, tree.Hash[:])
	case "record2":
		checkRecord(files[0], files[1], verifier)
	case "growth2":
		checkGrowth(files[0], files[1], verifier)
	default:
		fail(fmt.Errorf("usage: verify VKEY checkpoint|record|growth FILE..."))
	}
}

// open returns the tree that the log signed. note.Open drops signatures by keys it does not know, such as those of
// witnesses, and fails unless the log's own is there and right. The lines are parsed here: tlog.ParseTree takes the
// origin of Go's own database only.
func open(signed []byte, log note.Verifier) tlog.Tree {
	opened, err := note.Open(signed, note.VerifierList(log))
	fail(err)
	lines := strings.Split(opened.Text, "\n")
	if len(lines) != 4 || lines[3] != "" || lines[0] != log.Name() {
		fail(fmt.Errorf("not a checkpoint of %s", log.Name()))
	}
	return tlog.Tree{N: number(lines[1]), Hash: hash(lines[2])}
}

func checkRecord(proof, record []byte, log note.Verifier) {
	head, checkpoint := split(proof)
	if len(head) < 2 || head[0] != "c2sp.org/tlog-proof@v1" || !strings.HasPrefix(head[1], "index ") {
		fail(fmt.Errorf("not a c2sp.org/tlog-proof@v1 without extra data"))
	}
	index := number(strings.TrimPrefix(head[1], "index "))
	tree := open(checkpoint, log)
	entry := rebuild(record)
	fail(tlog.CheckRecord(tlog.RecordProof(hashes(head[2:])), tree.N, tree.Hash, index, tlog.RecordHash(entry)))
	fmt.Printf("the record is entry %d of %d, root %x\n", index, tree.N, tree.Hash[:])
}

func checkGrowth(old, request []byte, log note.Verifier) {
	head, checkpoint := split(request)
	before, after := open(old, log), open(checkpoint, log)
	if head[0] != fmt.Sprint("old ", before.N) {
		fail(fmt.Errorf("the file does not start from %d entries", before.N))
	}
	fail(tlog.CheckTree(tlog.TreeProof(hashes(head[1:])), after.N, after.Hash, before.N, before.Hash))
	fmt.Printf("the first %d of %d entries are unchanged, root %x\n", before.N, after.N, after.Hash[:])
}

// rebuild returns the 41 bytes that the log hashed: 0x01, the time of recording in microseconds, and
// SHA-256("assent-consent-event/v1\n" || nonce || the record as canonical JSON).
func rebuild(file []byte) []byte {
	var disclosed struct {
		Nonce  string                     `json:"nonce"`
		Record map[string]json.RawMessage `json:"record"`
	}
	fail(json.Unmarshal(file, &disclosed))
	nonce, err := hex.DecodeString(disclosed.Nonce)
	fail(err)
	names := make([]string, 0, len(disclosed.Record))
	for name := range disclosed.Record {
		names = append(names, name)
	}
	sort.Strings(names)
	commitment := sha256.New()
	commitment.Write([]byte("assent-consent-event/v1\n"))
	commitment.Write(nonce)
	for i, name := range names {
		names[i] = quote(name) + ":" + canonical(disclosed.Record[name])
	}
	commitment.Write([]byte("{" + strings.Join(names, ",") + "}"))
	at := number(string(disclosed.Record["recorded_at"]))
	return commitment.Sum(binary.BigEndian.AppendUint64([]byte{1}, uint64(at)))
}

// canonical writes a value as RFC 8785 asks: a whole number as it stands, a text with as few escapes as possible.
func canonical(value json.RawMessage) string {
	var text string
	if json.Unmarshal(value, &text) == nil && bytes.HasPrefix(value, []byte(`"`)) {
		return quote(text)
	}
	if _, err := strconv.ParseInt(string(value), 10, 64); err != nil {
		fail(fmt.Errorf("a value is neither text nor a whole number"))
	}
	return string(value)
}

// quote escapes what RFC 8785 escapes and nothing else; encoding/json also escapes <, >, &, U+2028 and U+2029.
func quote(text string) string {
	quoted := `"`
	for _, r := range text {
		if at := strings.IndexRune("\"\\\b\f\n\r\t", r); at >= 0 {
			quoted += `\` + string(`"\bfnrt`[at])
		} else if r < 0x20 {
			quoted += fmt.Sprintf(`\u%04x`, r)
		} else {
			quoted += string(r)
		}
	}
	return quoted + `"`
}

func split(file []byte) ([]string, []byte) {
	head, checkpoint, found := bytes.Cut(file, []byte("\n\n"))
	if !found {
		fail(fmt.Errorf("no blank line before the checkpoint"))
	}
	return strings.Split(string(head), "\n"), checkpoint
}

func hashes(lines []string) (found []tlog.Hash) {
	for _, line := range lines {
		found = append(found, hash(line))
	}
	return found
}

func hash(line string) (h tlog.Hash) {
	decoded, err := base64.StdEncoding.Strict().DecodeString(line)
	if fail(err); copy(h[:], decoded) != tlog.HashSize || len(decoded) != tlog.HashSize {
		fail(fmt.Errorf("not a hash of %d bytes", tlog.HashSize))
	}
	return h
}

func number(text string) int64 {
	n, err := strconv.ParseInt(text, 10, 64)
	if fail(err); n < 0 || strconv.FormatInt(n, 10) != text {
		fail(fmt.Errorf("not a number without leading zeros"))
	}
	return n
}

func fail(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "verify:", err)
		os.Exit(1)
	}
}
