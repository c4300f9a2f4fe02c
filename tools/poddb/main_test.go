package main

import (
	"bytes"
	"context"
	"encoding/json"
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
		{[]string{"stat", path}, "pod versions"},
		{[]string{"verify", "--deep", path}, "ok: 2 versions"},
	} {
		got, err := poddb(t, c.args...)
		if err != nil || !strings.Contains(got, c.want) {
			t.Errorf("%q = %q, %v; want %q", c.args, got, err, c.want)
		}
	}
	for _, cmd := range []string{"log", "show", "stat", "verify"} {
		out, err := poddb(t, cmd, "--json", path)
		if err != nil || !json.Valid([]byte(strings.SplitN(out, "\n", 2)[0])) {
			t.Errorf("%s --json = %q, %v", cmd, out, err)
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
