package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"os"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// The test binary is its own child process.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == "child" {
		main()
		return
	}
	os.Exit(m.Run())
}

const smallRmtree = "tc=4,tv=5,tl=40,tml=40,tme=50"
const smallRmlist = "blob=70000,n=20,bytes=300,replace=3,steps=4"

// What evaluation.md fixes: exactly these names.
var jsonFields = []string{"workload", "params", "system", "variant", "saves", "objects", "payload_bytes",
	"storage_bytes", "save_s_total", "save_s_median", "save_s_p99", "save_s_max", "save_cpu_s_total",
	"save_cpu_s_median", "blocked_s_total", "load_full_s_median", "load_partial_s_median", "peak_rss_bytes",
	"alloc_bytes", "write_bytes", "repeats", "spread", "commit", "machine", "error"}

func TestJSONFieldsAreThoseOfTheEvaluation(t *testing.T) {
	var names []string
	for i := range reflect.TypeFor[row]().NumField() {
		name, _, _ := strings.Cut(reflect.TypeFor[row]().Field(i).Tag.Get("json"), ",")
		names = append(names, name)
	}
	if !slices.Equal(names, jsonFields) {
		t.Fatalf("got %v\nwant %v", names, jsonFields)
	}
}

// A run gives a row per system, in the order asked for, with the figures filled in.
func TestRunReportsEverySystem(t *testing.T) {
	for _, workload := range []struct{ name, p string }{
		{"rmtree", smallRmtree}, {"rmlist", smallRmlist}, {"trace:sklearn_tweets", "steps=6"},
	} {
		var out bytes.Buffer
		args := []string{"run", "-workload", workload.name, "-p", workload.p,
			"-systems", "gob,poddb,cbor,bbolt,noop", "-repeats", "1", "-json", "-", "-dir", t.TempDir(), "-traces", t.TempDir()}
		if err := run(context.Background(), args, &out); err != nil {
			t.Fatalf("%s: %v\n%s", workload.name, err, out.String())
		}
		var systems []string
		for line := range strings.Lines(out.String()) {
			var r row
			dec := json.NewDecoder(strings.NewReader(line))
			dec.DisallowUnknownFields()
			if err := dec.Decode(&r); err != nil {
				t.Fatal(err)
			}
			systems = append(systems, r.System)
			switch {
			case r.Error != "":
				t.Errorf("%s on %s: %s", workload.name, r.System, r.Error)
			case r.Saves < 4 || r.Objects == 0 || r.PayloadBytes == 0 || r.PeakRSS == 0 || r.Machine == "" || r.Commit == "":
				t.Errorf("%s on %s: figures are missing: %s", workload.name, r.System, line)
			case r.System != "noop" && (r.StorageBytes == 0 || r.SaveTotal == 0 || r.LoadFullMedian == 0 || r.LoadPartialMedian == 0):
				t.Errorf("%s on %s: figures are missing: %s", workload.name, r.System, line)
			}
		}
		if want := []string{"gob", "poddb", "cbor", "bbolt", "noop"}; !slices.Equal(systems, want) {
			t.Errorf("%s: rows of %v", workload.name, systems)
		}
	}
}

func TestWorkloadsAreDeterministicAndTheirCheckersJudge(t *testing.T) {
	for _, name := range []string{"rmtree", "rmlist", "trace:sklearn_tweets"} {
		p := map[string]string{"rmtree": smallRmtree, "rmlist": smallRmlist}[name]
		w, _, err := findWorkload(name, p, t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		check, err := w.checker()
		if err != nil {
			t.Fatal(err)
		}
		set := map[string]bool{}
		for step := 1; ; step++ {
			d, err := w.next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			for _, v := range d.set {
				set[v] = true
			}
			for _, v := range d.deleted {
				delete(set, v)
			}
			if !maps.EqualFunc(set, w.vars(), func(bool, any) bool { return true }) {
				t.Fatalf("%s, step %d: set and deleted variables are not the live ones", name, step)
			}
			if err := checkVersion(check, w.vars()); err != nil {
				t.Fatalf("%s, step %d: %v", name, step, err)
			}
			missing := maps.Clone(w.vars())
			delete(missing, slices.Sorted(maps.Keys(missing))[0])
			if check.check(missing) == nil {
				t.Fatalf("%s, step %d: a lost variable was not found", name, step)
			}
		}
	}
}

func TestRmlistCheckerFindsLostIdentity(t *testing.T) {
	for name, wreck := range map[string]func(v map[string]any){
		"shared list": func(v map[string]any) {
			v["b1"] = &Node{[]any{&Node{slices.Clone(v["a"].(*Node).Items)}}}
		},
		"shared element": func(v map[string]any) {
			l := v["l"].(*Node)
			l.Items[0] = &Blob{slices.Clone(l.Items[0].(*Blob).Data)}
		},
		"cycle": func(v map[string]any) {
			l := *v["l"].(*Node)
			v["l2"] = &Node{[]any{&l}}
		},
	} {
		w, _, err := findWorkload("rmlist", smallRmlist, "")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.next(); err != nil {
			t.Fatal(err)
		}
		check, err := w.checker()
		if err != nil {
			t.Fatal(err)
		}
		if err := check.advance(); err != nil {
			t.Fatal(err)
		}
		wreck(w.vars())
		if check.check(w.vars()) == nil {
			t.Errorf("%s: not found", name)
		}
	}
}

func TestCyclesAndExplodingSharingAreErrorsBeforeEncoding(t *testing.T) {
	self := &Node{}
	self.Items = []any{self}
	slice := []any{nil}
	slice[0] = slice
	m := map[string]any{}
	m["m"] = m
	wide := &Node{}
	for range 40 {
		wide = &Node{[]any{wide, wide}}
	}
	for name, v := range map[string]any{"pointer": self, "slice": slice, "map": m, "sharing": wide} {
		if _, err := expanded(v); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	a := &Node{Items: []any{1, 2}}
	if n, err := expanded(&Node{[]any{a, a}}); err != nil || n < 8 {
		t.Errorf("two ways to one object: %d, %v", n, err)
	}
	w, _, err := findWorkload("rmlist", smallRmlist, "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.next(); err != nil {
		t.Fatal(err)
	}
	if _, err := expanded(w.vars()); err == nil {
		t.Error("the live variables of rmlist have a cycle")
	}
	if _, err := expanded(w.flat()); err != nil {
		t.Error(err)
	}
}

func TestBboltLoadsEveryVersion(t *testing.T) {
	w, _, err := findWorkload("rmtree", smallRmtree, "")
	if err != nil {
		t.Fatal(err)
	}
	s, err := newBbolt(t.TempDir(), w)
	if err != nil {
		t.Fatal(err)
	}
	saves := 0
	for {
		d, err := w.next()
		if err != nil {
			break
		}
		if err := s.save(t.Context(), w, d); err != nil {
			t.Fatal(err)
		}
		saves++
	}
	if err := s.close(); err != nil {
		t.Fatal(err)
	}
	if err := s.reopen(t.Context()); err != nil {
		t.Fatal(err)
	}
	check, err := w.checker()
	if err != nil {
		t.Fatal(err)
	}
	for v := range saves {
		vars, err := s.load(t.Context(), v, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := checkVersion(check, vars); err != nil {
			t.Fatalf("version %d: %v", v, err)
		}
	}
	if err := s.finish(); err != nil {
		t.Fatal(err)
	}
}

func TestSnapshotsLoadWhatWasSaved(t *testing.T) {
	w, _, err := findWorkload("rmtree", smallRmtree, "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.next(); err != nil {
		t.Fatal(err)
	}
	for name, make := range map[string]func(string, workload) (system, error){"gob": newGob, "cbor": newCbor, "hand": newHand} {
		s, err := make(t.TempDir(), w)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.save(t.Context(), w, delta{}); err != nil {
			t.Fatal(err)
		}
		vars, err := s.load(t.Context(), 0, nil)
		if err != nil {
			t.Fatal(err)
		}
		for key, want := range w.vars() {
			got := reflect.ValueOf(vars[key])
			if got.Kind() == reflect.Pointer {
				got = got.Elem()
			}
			if !reflect.DeepEqual(got.Interface(), *want.(*Strings)) {
				t.Fatalf("%s: %s differs", name, key)
			}
		}
	}
}

func TestMedianOfRunsAndTheirSpread(t *testing.T) {
	r := combine([]row{{SaveTotal: 3, StorageBytes: 7}, {SaveTotal: 1, StorageBytes: 9}, {SaveTotal: 2, StorageBytes: 8}})
	if r.SaveTotal != 2 || r.StorageBytes != 8 || r.Spread != 1 || r.Repeats != 3 {
		t.Fatalf("%+v", r)
	}
	if r := combine([]row{{SaveTotal: 1}, {Error: "broken"}}); r.Error != "broken" {
		t.Fatalf("%+v", r)
	}
	if percentile([]int{5, 1, 4, 2, 3}, 99) != 5 || median([]int{4, 1, 2, 3}) != 2 || median([]int(nil)) != 0 {
		t.Fatal("percentiles")
	}
}

func TestBarLines(t *testing.T) {
	low := bar{name: "x", unit: "pods", limit: 2, value: 2}
	high := bar{name: "y", unit: "objects/s", limit: 3e6, value: 2999999.5, atLeast: true}
	if got := low.line(); got != "BAR name=x value=2 limit=2 unit=pods pass" {
		t.Error(got)
	}
	if got := high.line(); got != "BAR name=y value=3000000 limit=3000000 unit=objects/s fail" {
		t.Error(got)
	}
	low.err = errors.New("broken")
	if got := low.line(); got != "BAR name=x value=NaN limit=2 unit=pods fail" {
		t.Error(got)
	}
	b := storageBar(bar{name: "storage/TRACE", limit: 1}, "agents", row{StorageBytes: 38_070_000}, row{Error: "cycle"})
	if b.passed() || b.name != "storage/agents" {
		t.Errorf("as much as the rival is not less: %+v", b)
	}
	b = storageBar(bar{name: "storage/TRACE"}, "new", row{StorageBytes: 99}, row{StorageBytes: 100})
	if !b.passed() {
		t.Errorf("%+v", b)
	}
}

func TestMistakesOfTheCallerAreOneClearLine(t *testing.T) {
	for args, want := range map[string]string{
		"run":                                    "needs -workload",
		"run -workload nothing":                  "unknown workload",
		"run -workload rmtree -systems nothing":  "unknown system",
		"run -workload rmtree -p tc":             "not name=value",
		"run -workload rmtree -p zz=1":           "unknown parameter",
		"run -workload rmtree -p tml=101":        "per cent",
		"run -workload trace:nothing -traces no": "say where with -traces",
		"nothing":                                "unknown command",
		"bars -only nothing":                     "no bar",
	} {
		err := run(context.Background(), strings.Fields(args), io.Discard)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: got %v, want ...%s...", args, err, want)
		}
	}
	var out bytes.Buffer
	if err := run(context.Background(), []string{"list"}, &out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"rmtree", "rmlist", "poddb", "bbolt", "first-walk"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("list does not name %s", want)
		}
	}
}

// Linux carries getrusage's peak across fork and exec: a child must not report it.
func TestAChildReportsItsOwnPeak(t *testing.T) {
	ballast := make([]byte, 400<<20)
	for i := 0; i < len(ballast); i += 4096 {
		ballast[i] = 1
	}
	r := runChild(context.Background(), runSpec{Workload: "rmtree", Params: smallRmtree, System: "noop"}, t.TempDir())
	if runtime.KeepAlive(ballast); r.Error != "" {
		t.Fatal(r.Error)
	}
	if r.PeakRSS <= 0 || r.PeakRSS >= int64(len(ballast))/2 {
		t.Fatalf("the child of a process of %d MB reports %d MB as its peak", len(ballast)>>20, r.PeakRSS>>20)
	}
}
