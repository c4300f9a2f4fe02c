package dberr

import (
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
)

// CommitToken names one attempt to commit, so that its outcome can be looked
// up later, also by another process: the version that it would get, and a
// random number that no other attempt at that version has.
type CommitToken struct {
	Database [16]byte
	Version  uint64
	Nonce    uint64
}

const tokenFormat = "commit1"

// String returns the text form, which ParseCommitToken reads.
func (t CommitToken) String() string {
	return fmt.Sprintf("%s-%x-%d-%016x", tokenFormat, t.Database[:], t.Version, t.Nonce)
}

// MarshalText returns the text form.
func (t CommitToken) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// UnmarshalText reads the text form; anything else is ErrInvalid.
func (t *CommitToken) UnmarshalText(text []byte) (err error) {
	*t, err = ParseCommitToken(string(text))
	return err
}

// ParseCommitToken reads the text form; anything else is ErrInvalid.
func ParseCommitToken(text string) (CommitToken, error) {
	bad := fmt.Errorf("%w: %.80q is not the token of a commit", ErrInvalid, text)
	parts := strings.Split(text, "-")
	if len(parts) != 4 || parts[0] != tokenFormat {
		return CommitToken{}, bad
	}
	var t CommitToken
	if len(parts[1]) != 2*len(t.Database) {
		return CommitToken{}, bad
	}
	if _, err := hex.Decode(t.Database[:], []byte(parts[1])); err != nil {
		return CommitToken{}, bad
	}
	var err error
	if t.Version, err = strconv.ParseUint(parts[2], 10, 64); err != nil {
		return CommitToken{}, bad
	}
	if t.Nonce, err = strconv.ParseUint(parts[3], 16, 64); err != nil || t.String() != text {
		return CommitToken{}, bad
	}
	return t, nil
}

// CommitUnknownError says that a commit was written and its sync failed. Its
// token tells the outcome once the database is reopened. It matches
// ErrCommitUnknown.
type CommitUnknownError struct {
	Token CommitToken
	Cause error
}

func (e *CommitUnknownError) Error() string {
	return fmt.Sprintf("%v (token %s): %v", ErrCommitUnknown, e.Token, e.Cause)
}

// Is reports that a CommitUnknownError is an ErrCommitUnknown.
func (e *CommitUnknownError) Is(target error) bool { return target == ErrCommitUnknown }

// Unwrap returns what failed.
func (e *CommitUnknownError) Unwrap() error { return e.Cause }
