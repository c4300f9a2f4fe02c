package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/poddb/poddb/db"
)

// poddb runs a command line and returns what it printed.
func poddb(t *testing.T, args ...string) (string, error) {
	t.Helper()
	var out, errs bytes.Buffer
	err := run(context.Background(), &env{out: &out, err: &errs}, args)
	if err != nil && strings.Contains(oneLine(err), "\n") {
		t.Errorf("%q: error of several lines: %v", args, err)
	}
	return out.String() + errs.String(), err
}

type item struct {
	Name  string
	Price float64
	Next  *item
}

func sample(t *testing.T) string {
	t.Helper()
	ctx := context.Background()
	path := filepath.Join(t.TempDir(), "shop.pod")
	d, err := db.Open(ctx, path, nil)
	if err != nil {
		t.Fatal(err)
	}
	ns, err := d.Namespace(ctx, "main")
	if err != nil {
		t.Fatal(err)
	}
	cart := &[]*item{{Name: "pen", Price: 4}, {Name: "ink", Price: 9.5}}
	(*cart)[0].Next = (*cart)[1]
	if err := ns.Set(ctx, "cart", cart); err != nil {
		t.Fatal(err)
	}
	for _, price := range []float64{4, 5} {
		(*cart)[0].Price = price
		if _, err := ns.Save(ctx, db.SaveOptions{Message: "line\nbreak \x1b[31m", Author: "me"}); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestCommandsReadAFileWithoutTheProgramsTypes(t *testing.T) {
	path := sample(t)
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"get", path, "cart[0].Price", "--json"}, "5\n"},
		{[]string{"get", path, "cart[0].Price", "--at", "1", "--json"}, "4\n"},
		{[]string{"get", "--json", path, "cart"}, `[{"Name":"pen","Price":5,"Next":{"Name":"ink","Price":9.5,"Next":null}},{"$ref":"cart[0].Next"}]` + "\n"},
		{[]string{"show", path}, "cart"},
		{[]string{"log", path}, `line\nbreak \x1b[31m`},
		{[]string{"schema", path}, "struct"},
		{[]string{"schema", "--count", path}, "  .Price"},
		{[]string{"stat", path}, "live pods"},
		{[]string{"stat", path}, "\nfree                       0 B\nmetas                   8192 B\n"}, // a closed file has nothing left over
		{[]string{"verify", "--deep", path}, "ok: 2 versions"},
	} {
		got, err := poddb(t, c.args...)
		if err != nil || !strings.Contains(got, c.want) {
			t.Errorf("%q = %q, %v; want %q", c.args, got, err, c.want)
		}
	}
	for _, cmd := range []string{"log", "schema", "show", "stat", "verify"} {
		out, err := poddb(t, cmd, "--json", path)
		if err != nil || !json.Valid([]byte(strings.SplitN(out, "\n", 2)[0])) {
			t.Errorf("%s --json = %q, %v", cmd, out, err)
		}
	}
}

// A program that has renamed a field and forgot to say so reads it in the report.
func TestSchemaReportOfAProgram(t *testing.T) {
	type renamed struct {
		Name  string
		Prize float64
	}
	path := sample(t)
	desc, err := db.DescribeTypes(db.Types(db.Type[renamed]("shop.Item", db.Alias("github.com/poddb/poddb/tools/poddb.item"))))
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(t.TempDir(), "program.json")
	if err := os.WriteFile(program, desc, 0o600); err != nil {
		t.Fatal(err)
	}
	// Also while somebody has the file open.
	live, err := db.Open(context.Background(), path, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer live.Close()
	got, err := poddb(t, "schema", path, "--program", program)
	if err != nil || !strings.Contains(got, "probably renamed to Prize (0.88)") || !strings.Contains(got, "pod:") || !strings.Contains(got, ".Next") || !strings.Contains(got, " stored types can") {
		t.Errorf("%s, %v", got, err)
	}
	got, err = poddb(t, "schema", path, "--program", program, "--json")
	if err != nil || !strings.Contains(got, `"rename":{"to":"Prize"`) {
		t.Errorf("%s, %v", got, err)
	}
	if _, err = poddb(t, "schema", path, "--program", path); err == nil {
		t.Error("a database was taken for a description")
	}
}

// Asking what prune would free only reads: it works beside the program that has
// the file open, and the pruning itself is refused there.
func TestPruneDryRunBesideAWriter(t *testing.T) {
	path := sample(t)
	d, err := db.Open(context.Background(), path, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if out, err := poddb(t, "prune", path, "--keep-last", "1", "--dry-run"); err != nil || !strings.Contains(out, "in 1 versions") {
		t.Errorf("%q, %v", out, err)
	}
	if _, err := poddb(t, "prune", path, "--keep-last", "1"); !errors.Is(err, db.ErrLocked) {
		t.Errorf("pruned beside a writer: %v", err)
	}
}

// A database whose process was killed: commands that read show everything, a
// backup that would miss commits is refused and leaves nothing, and works after a
// checkpoint.
func TestBackupOfACrashedDatabase(t *testing.T) {
	ctx := context.Background()
	path := filepath.Join(t.TempDir(), "a.pod")
	d, err := db.Open(ctx, path, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	ns, err := d.Namespace(ctx, "main")
	if err != nil {
		t.Fatal(err)
	}
	if err := ns.Set(ctx, "x", 1); err != nil {
		t.Fatal(err)
	}
	if _, err := ns.Save(ctx); err != nil {
		t.Fatal(err)
	}
	crashed := filepath.Join(t.TempDir(), "b.pod") // a copy of the open files is what a kill leaves
	for from, to := range map[string]string{path: crashed, path + ".wal": crashed + ".wal"} {
		if from != path {
			err = os.CopyFS(to, os.DirFS(from))
		} else if b, failed := os.ReadFile(from); failed != nil {
			err = failed
		} else {
			err = os.WriteFile(to, b, 0o666)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	copied := crashed + ".copy"
	if _, err := poddb(t, "backup", crashed, copied); !errors.Is(err, db.ErrReadOnly) || !strings.Contains(err.Error(), crashed) {
		t.Errorf("backup without the log: %v", err)
	}
	if _, err := os.Stat(copied); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("left behind: %v", err)
	}
	for _, args := range [][]string{{"get", crashed, "x"}, {"checkpoint", crashed}, {"backup", crashed, copied}, {"verify", copied, "--deep"}, {"get", copied, "x"}} {
		if out, err := poddb(t, args...); err != nil || args[0] == "get" && out != "1\n" {
			t.Errorf("%q: %q, %v", args, out, err)
		}
	}
}

func TestWrongUseIsOneClearLine(t *testing.T) {
	path := sample(t)
	text := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(text, []byte("no database"), 0o666); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		want string
	}{
		{nil, "wrong use"},
		{[]string{"frobnicate"}, `no command "frobnicate"`},
		{[]string{"get", path}, "usage: poddb get"},
		{[]string{"log", path, "--nope"}, "nope"},
		{[]string{"log", path, "-n", "-5"}, "negative"},
		{[]string{"get", path, "cart[7]"}, "not in"},
		{[]string{"get", path, "nothing"}, "no variable"},
		{[]string{"show", path, "--at", "9"}, "9"},
		{[]string{"log", path + ".missing"}, "no such file"},
		{[]string{"log", text}, "not a poddb database"},
		{[]string{"log", t.TempDir()}, "directory"},
	} {
		if _, err := poddb(t, c.args...); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: %v, want %q", c.args, err, c.want)
		}
	}
}

// What was asked for is output, not an error.
func TestHelpIsOutput(t *testing.T) {
	for _, c := range []struct{ args, want string }{{"help", "schema FILE"}, {"help schema", "-program"}, {"schema -h", "-program"}} {
		if out, err := poddb(t, strings.Fields(c.args)...); err != nil || !strings.Contains(out, c.want) {
			t.Errorf("%s: %q, %v", c.args, out, err)
		}
	}
}

func TestDemoLeavesDatabaseAndChartBehind(t *testing.T) {
	dir := t.TempDir()
	out, err := poddb(t, "demo", "--dir", dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"x.Items[1] and y are one object", "32 of 32 steps read back", "sklearn_tweets.svg"} {
		if !strings.Contains(out, want) {
			t.Errorf("demo does not say %q:\n%s", want, out)
		}
	}
	for _, name := range []string{"sklearn_tweets.pod", "sklearn_tweets.svg", "quickstart.pod"} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Size() == 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Branches, tags, and what differs: by number, tag and branch; the commands that only read
// work beside a program that has the file open, the others say that it is locked.
func TestHistoryCommands(t *testing.T) {
	path := sample(t)
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"diff", path, "1", "2"}, "cart[0].Price: 4 → 5\n"},
		{[]string{"diff", path, "2", "1"}, "cart[0].Price: 5 → 4\n"},
		{[]string{"diff", path, "2"}, "cart[0].Price: 4 → 5\n"},
		{[]string{"diff", path, "1"}, "cart: added *[]*"},
		{[]string{"diff", path, "main", "2"}, ""},
		{[]string{"diff", path, "1", "2", "--json"}, `{"path":"cart[0].Price","kind":"changed","old":"4","new":"5"}` + "\n"},
		{[]string{"tag", path, "first", "1"}, ""},
		{[]string{"tag", path, "newest"}, ""},
		{[]string{"tag", path}, "first         1\nnewest        2\n"},
		{[]string{"tag", path, "--json"}, `{"Name":"first","Version":1}` + "\n"},
		{[]string{"diff", path, "first", "newest"}, "cart[0].Price: 4 → 5\n"},
		{[]string{"log", path}, "first"},
		{[]string{"log", path, "--reverse", "-n", "1", "--json"}, `"Version":1,`},
		{[]string{"log", path, "--from", "2", "--json"}, `"Version":2,`},
		{[]string{"branch", path, "try", "--at", "first"}, ""},
		{[]string{"branch", path}, "try          1     1        0\n"},
		{[]string{"branch", path, "--json"}, `{"Name":"try","Head":1,"Fork":1,"Commits":0}`},
		{[]string{"log", path, "--branch", "try", "--json"}, `"Version":1,`},
		{[]string{"branch", path, "try", "--delete"}, ""},
		{[]string{"prune", path, "--keep-for", "1000h", "--dry-run"}, "in 0 versions"},
		{[]string{"prune", path, "--tiers"}, "in 0 versions"},
		{[]string{"revert", path, "2", "--message", "back", "--json"}, `{"version":3}`},
		{[]string{"get", path, "cart[0].Price", "--json"}, "4\n"},
		{[]string{"log", path, "-n", "1"}, "back"},
		{[]string{"revert", path, "3"}, "version 4\n"},
		{[]string{"checkout", path, "first", "--dry-run"}, "cart[0].Price: 5 → 4\n"},
		{[]string{"checkout", path, "first", "--dry-run", "--json"}, `{"path":"cart[0].Price","kind":"changed","old":"5","new":"4"}` + "\n"},
		{[]string{"checkout", path, "3", "--author", "me", "--message", "again 4", "--json"}, `{"Version":5,"To":3,"Branch":"main","Committed":true}` + "\n"},
		{[]string{"get", path, "cart[0].Price"}, "4\n"},
		{[]string{"log", path, "-n", "1"}, "again 4"},
		{[]string{"checkout", path, "first"}, "main is as in version 1 already\n"},
		{[]string{"checkout", path, "newest"}, "version 6 of main is as version 2 was\n"},
		{[]string{"tag", path, "first", "--delete"}, ""},
		{[]string{"prune", path, "--keep-last", "1"}, "in 4 versions"},
		{[]string{"collect", path, "--dry-run"}, "would take away 0 pods"},
		{[]string{"collect", path, "--json", "--time", "1m"}, `"More":false`},
	} {
		got, err := poddb(t, c.args...)
		if err != nil || !strings.Contains(got, c.want) || c.want == "" && got != "" {
			t.Errorf("%q = %q, %v; want %q", c.args, got, err, c.want)
		}
	}
	live, err := db.Open(context.Background(), path, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer live.Close()
	for _, args := range [][]string{{"diff", path, "main", "newest"}, {"tag", path}, {"branch", path}, {"log", path}} {
		if out, err := poddb(t, args...); err != nil {
			t.Errorf("%q beside a writer: %q, %v", args, out, err)
		}
	}
	for _, args := range [][]string{{"tag", path, "x"}, {"branch", path, "x"}, {"tag", path, "newest", "--delete"}} {
		if _, err := poddb(t, args...); !errors.Is(err, db.ErrLocked) {
			t.Errorf("%q beside a writer: %v", args, err)
		}
	}
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"diff", path, "nothing", "1"}, `"nothing" is no version, tag or branch`},
		{[]string{"diff", path}, "usage"},
		{[]string{"diff", path, "1", "2"}, "removed"}, // version 1 was pruned
		{[]string{"log", path, "--branch", "try"}, `branch "try"`},
		{[]string{"tag", path, "--delete"}, "NAME"},
		{[]string{"branch", path, "--delete"}, "NAME"},
		{[]string{"prune", path}, "--keep-last"},
		{[]string{"collect", path, "--branch", "nowhere", "--dry-run"}, "nowhere"},
		{[]string{"revert", path, "main"}, "locked"},
		{[]string{"checkout", path, "main"}, "locked"},
		{[]string{"checkout", path, "main", "--branch", "try", "--dry-run"}, `branch "try"`},
		{[]string{"checkout", path}, "usage"},
		{[]string{"prune", path, "--keep-for", "-1h"}, "negative"},
	} {
		if out, err := poddb(t, c.args...); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: %q, %v, want %q", c.args, out, err, c.want)
		}
	}
}

func TestMergeCommand(t *testing.T) {
	ctx := context.Background()
	path := filepath.Join(t.TempDir(), "m.pod")
	d, err := db.Open(ctx, path, nil)
	if err != nil {
		t.Fatal(err)
	}
	commit := func(branch string, fn func(cart []int) []int, name string) {
		t.Helper()
		_, err := d.Update(ctx, func(ctx context.Context, tx *db.Tx) error {
			if name != "" {
				if err := tx.Put(ctx, name, &[]int{1}); err != nil {
					return err
				}
			}
			cart := &[]int{1, 2, 3}
			if branch != "" {
				p, err := db.Get[*[]int](ctx, tx, "cart")
				if err != nil {
					return err
				}
				cart = p
			}
			*cart = fn(*cart)
			return tx.Put(ctx, "cart", cart)
		}, db.TxOptions{Branch: branch})
		if err != nil {
			t.Fatal(err)
		}
	}
	commit("", func(c []int) []int { return c }, "")
	if err := d.Branch(ctx, "other", 1); err != nil {
		t.Fatal(err)
	}
	commit("main", func(c []int) []int { c[0], c[1] = 10, 20; return c }, "ours")
	commit("other", func(c []int) []int { c[0], c[2] = 11, 30; return c }, "theirs")
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args       []string
		want, fail string
	}{
		{[]string{"merge", path, "other", "--ours", "--theirs"}, "", "not both"},
		{[]string{"merge", path, "nobody"}, "", "nobody"},
		{[]string{"merge", path, "other", "--dry-run"}, "1 conflicts\n", ""},
		{[]string{"merge", path, "other", "--dry-run", "--theirs"}, "cart[0]   1     10    11      theirs\n", ""},
		{[]string{"merge", path, "other"}, "cart[0]   1     10    11      open\n", "--ours or --theirs"},
		{[]string{"merge", path, "other", "--json"}, `"conflicts":[{"path":"cart[0]","type":"int","base":"1","ours":"10","theirs":"11","choice":"open"}]`, "--ours or --theirs"},
		{[]string{"get", path, "cart", "--json"}, "[10,20,3]\n", ""},
		{[]string{"merge", path, "other", "--theirs", "--message", "joined"}, "version 4\n", ""},
		{[]string{"get", path, "cart", "--json"}, "[11,20,30]\n", ""},
		{[]string{"show", path}, "theirs", ""},
		{[]string{"log", path, "-n", "1"}, "joined", ""},
		{[]string{"merge", path, "other", "--json"}, `{"version":4,"base":3,"ours":4,"theirs":3,"upToDate":true,"pods":0,"names":0,"conflicts":[]}`, ""},
		{[]string{"merge", path, "main", "--into", "other"}, "version 5\n", ""},
	} {
		got, err := poddb(t, c.args...)
		if !strings.Contains(got, c.want) || (err != nil) != (c.fail != "") || err != nil && !strings.Contains(err.Error(), c.fail) {
			t.Errorf("%q = %q, %v; want %q, error %q", c.args, got, err, c.want, c.fail)
		}
	}
}
