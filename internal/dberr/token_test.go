package dberr

import (
	"encoding"
	"errors"
	"strings"
	"testing"
)

var (
	_ encoding.TextMarshaler   = CommitToken{}
	_ encoding.TextUnmarshaler = (*CommitToken)(nil)
)

func TestTokenIsReadBackFromItsText(t *testing.T) {
	for _, want := range []CommitToken{{}, {[16]byte{0: 1, 15: 0xff}, 1<<64 - 1, 1<<63 + 5}} {
		text, _ := want.MarshalText()
		var got CommitToken
		if err := got.UnmarshalText(text); err != nil || got != want {
			t.Fatalf("%s came back as %+v, %v", text, got, err)
		}
	}
}

func TestTextThatIsNoTokenIsRefused(t *testing.T) {
	good := CommitToken{Version: 7, Nonce: 9}.String()
	for _, text := range []string{
		"", "x", strings.Repeat("-", 3), good + "-", good + "0", good[1:], strings.Replace(good, "-7-", "-07-", 1),
		strings.Replace(good, "-7-", "--7-", 1), strings.Replace(good, "0009", "000g", 1), strings.Repeat("a", 1000),
	} {
		if _, err := ParseCommitToken(text); !errors.Is(err, ErrInvalid) || len(err.Error()) > 200 {
			t.Fatalf("%q: %v", text, err)
		}
	}
}
