package mvcc

import (
	"errors"
	"testing"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/vfs"
)

// A commit is held in its sync; two more gather behind it and share the next
// sync, which fails; a fourth comes too late for that group.
func TestEveryCommitOfAGroupWhoseSyncFailedCanBeLookedUp(t *testing.T) {
	fs := newFS(t)
	slow := &slowSync{FS: fs}
	o := testOptions(slow)
	s := mustOpen(t, o)
	var ids []pid
	for _, name := range []string{"a", "b", "c"} {
		id, _, err := commitBox(t, s, MainBranch, name, 0, "old")
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
	}
	release := slow.hold()
	defer release()
	var results []chan outcome
	for i, id := range ids {
		tx := begin(t, s, MainBranch)
		if err := tx.Put(bg, boxAgain(id, "new")); err != nil {
			t.Fatal(err)
		}
		results = append(results, commitAsync(tx))
		waitQueued(t, s, i+1)
		for i == 0 && !slow.waiting() {
		}
	}
	fs.FailSync(2)
	release()
	if o := <-results[0]; o.err != nil || o.v != 4 {
		t.Fatalf("the commit before: %+v", o)
	}
	var tokens []CommitToken
	for i, r := range results[1:] {
		var unknown *dberr.CommitUnknownError
		if o := <-r; !errors.As(o.err, &unknown) || !errors.Is(o.err, dberr.ErrCommitUnknown) || errors.Is(o.err, dberr.ErrPoisoned) {
			t.Fatalf("commit %d of the group: %+v", i, o)
		}
		if unknown.Token.Version != Version(5+i) {
			t.Fatalf("commit %d of the group would be version %d", i, unknown.Token.Version)
		}
		if _, _, err := s.Lookup(bg, unknown.Token); !errors.Is(err, dberr.ErrPoisoned) {
			t.Fatalf("Lookup before reopening: %v", err)
		}
		token, err := dberr.ParseCommitToken(unknown.Token.String())
		if err != nil {
			t.Fatal(err)
		}
		tokens = append(tokens, token)
	}
	_, err := s.Begin(bg, MainBranch, 4)
	if !errors.Is(err, dberr.ErrPoisoned) || errors.Is(err, dberr.ErrCommitUnknown) {
		t.Fatalf("a later transaction: %v", err)
	}
	if err := s.Close(); !errors.Is(err, dberr.ErrPoisoned) {
		t.Fatalf("Close: %v", err)
	}
	there := map[bool]int{}
	for kind := vfs.CrashLoseAll; kind <= vfs.CrashMix; kind++ {
		o := testOptions(fs.Crash(kind, 3))
		s := mustOpen(t, o)
		h := must(s.Head(bg, MainBranch))(t)
		for _, token := range tokens {
			v, ok, err := s.Lookup(bg, token)
			if err != nil || ok != (h >= token.Version) || ok && v != token.Version {
				t.Fatalf("%v: Lookup gave %d, %v, %v with head %d", kind, v, ok, err, h)
			}
			there[ok]++
		}
		// Another commit takes the version; the token must not take it for its own.
		for h < 6 {
			if _, h, err = commitBox(t, s, MainBranch, "", ids[0], kind.String()+string(rune('0'+h))); err != nil {
				t.Fatal(err)
			}
			token := CommitToken{Database: s.DatabaseID(), Version: h, Nonce: tokens[h-5].Nonce}
			if _, ok, err := s.Lookup(bg, token); ok || err != nil {
				t.Fatalf("%v: the token of a lost commit finds another one: %v", kind, err)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if there[true] == 0 || there[false] == 0 {
		t.Fatalf("outcomes %v: the test needs both", there)
	}
}

func TestTokensOfOtherDatabasesAreRefused(t *testing.T) {
	s := mustOpen(t, testOptions(newFS(t)))
	defer s.Close()
	for _, token := range []CommitToken{{}, {Database: s.DatabaseID()}, {Database: [16]byte{1}, Version: 1}} {
		if _, _, err := s.Lookup(bg, token); !errors.Is(err, dberr.ErrInvalid) {
			t.Fatalf("Lookup of %s: %v", token, err)
		}
	}
	if _, ok, err := s.Lookup(bg, CommitToken{Database: s.DatabaseID(), Version: 7, Nonce: 1}); ok || err != nil {
		t.Fatalf("Lookup of a version that was never given out: %v, %v", ok, err)
	}
}
