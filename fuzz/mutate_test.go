package fuzz

import (
	"cmp"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// mutant is one deliberate bug.
type mutant struct {
	name, what string
	file       string // from the module's root
	from, to   string
	tests      string // a package and flags of go test
}

const moduleRoot = ".."

// changed returns the file with the bug in it.
func (m mutant) changed() (string, error) {
	text, err := os.ReadFile(filepath.Join(moduleRoot, filepath.FromSlash(m.file)))
	if err != nil {
		return "", err
	}
	if n := strings.Count(string(text), m.from); n != 1 {
		return "", fmt.Errorf("%s: its text occurs %d times in %s:\n%s", m.name, n, m.file, m.from)
	}
	return strings.Replace(string(text), m.from, m.to, 1), nil
}

// TestEveryMutantApplies keeps the list in step with the code: whoever changes
// a line that a mutant breaks says here how it is broken now.
func TestEveryMutantApplies(t *testing.T) {
	names := map[string]bool{}
	for _, m := range mutants {
		if _, err := m.changed(); err != nil {
			t.Error(err)
		}
		if names[m.name] {
			t.Errorf("two mutants are called %s", m.name)
		}
		names[m.name] = true
	}
	if len(mutants) < 20 {
		t.Errorf("%d mutants", len(mutants))
	}
}

// overlay writes what go test -overlay takes, and returns its name.
func (m mutant) overlay(dir string) (string, error) {
	text, err := m.changed()
	if err != nil {
		return "", err
	}
	root, err := filepath.Abs(moduleRoot)
	if err != nil {
		return "", err
	}
	source, list := filepath.Join(dir, m.name+".go"), filepath.Join(dir, m.name+".json")
	names, err := json.Marshal(map[string]map[string]string{"Replace": {filepath.Join(root, filepath.FromSlash(m.file)): source}})
	if err != nil {
		return "", err
	}
	return list, errors.Join(os.WriteFile(source, []byte(text), 0o600), os.WriteFile(list, names, 0o600))
}

var failedTest = regexp.MustCompile(`(?m)^\s*--- FAIL: ([A-Za-z0-9_/]*)|^(panic: .{0,80})`)

// noticedBy runs tests on the mutant and returns the first that fails, "" if none.
func (m mutant) noticedBy(overlay, tests string) (string, error) {
	args := append([]string{"test", "-overlay", overlay, "-failfast", "-count=1", "-vet=off", "-timeout", "8m"}, strings.Fields(tests)...)
	c := exec.Command("go", args...)
	c.Dir = moduleRoot
	out, err := c.CombinedOutput()
	var failed *exec.ExitError
	switch {
	case err == nil:
		return "", nil
	case !errors.As(err, &failed):
		return "", err
	case strings.Contains(string(out), "test timed out"): // which may be the machine's fault
		return "", nil
	case strings.Contains(string(out), "[build failed]"), strings.Contains(string(out), "[setup failed]"):
		return "", fmt.Errorf("%s does not build:\n%s", m.name, out)
	}
	found := failedTest.FindStringSubmatch(string(out))
	if found == nil {
		return tests, nil
	}
	return cmp.Or(found[1], found[2]), nil
}

// caught runs the tests that should notice, then the campaigns, then the tests
// of the package.
func (m mutant) caught(dir string) (by string, err error) {
	overlay, err := m.overlay(dir)
	if err != nil {
		return "", err
	}
	for _, tests := range []string{m.tests, "./fuzz -run ^Test(Crash|Fault|Bitflip|Sequence)", "./" + path.Dir(m.file), "./db"} {
		if by, err = m.noticedBy(overlay, tests); by != "" || err != nil {
			return by, err
		}
	}
	return "", nil
}

// chosenMutants are those that -mutants names. Without it they are all if
// -run asks for this test by its name, and else none: they take minutes.
func chosenMutants(t *testing.T) []mutant {
	all := slices.Clone(mutants)
	rng := rand.New(rand.NewPCG(*flagSeed, 31))
	rng.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	n, err := strconv.Atoi(*flagMutants)
	switch {
	case *flagMutants == "all", *flagMutants == "" && strings.Contains(flag.Lookup("test.run").Value.String(), "Mutants"):
		return all
	case *flagMutants == "", err == nil:
		return all[:min(n, len(all))]
	}
	var chosen []mutant
	for name := range strings.SplitSeq(*flagMutants, ",") {
		i := slices.IndexFunc(all, func(m mutant) bool { return m.name == name })
		if i < 0 {
			t.Fatalf("no mutant is called %q", name)
		}
		chosen = append(chosen, all[i])
	}
	return chosen
}

// TestMutants plants one bug at a time, compiled from an overlay, and demands
// that a test notices.
func TestMutants(t *testing.T) {
	chosen := chosenMutants(t)
	if len(chosen) == 0 || testing.Short() {
		return
	}
	dir := t.TempDir()
	end, bounded := t.Deadline()
	var caught, missed, next atomic.Int64
	var workers sync.WaitGroup
	for range 2 { // one compiles while the other's tests run
		workers.Go(func() {
			for {
				i := int(next.Add(1) - 1)
				if i >= len(chosen) || bounded && time.Until(end) < 90*time.Second {
					return
				}
				m, start := chosen[i], time.Now()
				by, err := m.caught(dir)
				switch took := time.Since(start).Round(time.Second); {
				case err != nil:
					missed.Add(1)
					t.Error(err)
				case by == "":
					missed.Add(1)
					t.Errorf("nothing notices %s: %s (-mutants %s)", m.name, m.what, m.name)
				default:
					caught.Add(1)
					t.Logf("%s: %s: noticed by %s (%v)", m.name, m.what, by, took)
				}
			}
		})
	}
	workers.Wait()
	ran := caught.Load() + missed.Load()
	t.Logf("CAMPAIGN name=mutants seed=%d mutants=%d of=%d caught=%d missed=%d", *flagSeed, ran, len(mutants), caught.Load(), missed.Load())
	if ran < int64(len(chosen)) {
		t.Errorf("the time was up: %d mutants were not run; -timeout gives more", int64(len(chosen))-ran)
	}
}
