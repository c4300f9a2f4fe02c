package main

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"

	"github.com/poddb/poddb/db"
	"github.com/poddb/poddb/podder"
)

// poddingPromises are what podding and reading back may cost beside encoders that know nothing of
// identity, of what was stored before, or of what changes next.
func poddingPromises() []promise {
	var out []promise
	for _, c := range changeCases() {
		out = append(out, promise{
			bars: []bar{
				{name: "save-first-" + c.name, set: "podding", unit: "x-of-fastest", limit: 1,
					about: "CPU time of the first save of a namespace against the fastest of gob, cbor, msgpack, goccy/go-json: " + c.about},
				{name: "load-full-" + c.name, set: "podding", unit: "x-of-fastest", limit: 1,
					about: "CPU time of loading everything into a namespace, ready for saves, against the fastest decoder"},
			},
			measure: func(ctx context.Context, _ barEnv, bars []bar) []bar {
				if err := measureFirst(ctx, c, bars); err != nil {
					return broken(bars, err)
				}
				return bars
			},
		})
	}
	return append(out,
		promise{measure: orBroken(measureHand), bars: []bar{
			{name: "walk-hand-ordered", set: "podding", unit: "x-of-hand", limit: 2,
				about: "CPU time of the first save of a tree of 1,000,000 objects against a hand-written encoder without identity; the tree lies in memory in order"},
			{name: "walk-hand-shuffled", set: "podding", unit: "x-of-hand", limit: 2, about: "the same where it lies in no order"},
		}},
		promise{measure: orBroken(measureSmallCheck), bars: []bar{{
			name: "check-small", set: "podding", unit: "ns/object", limit: 12,
			about: "CPU time of a save of an unchanged tree of 1,000,000 small objects",
		}}},
		promise{measure: orBroken(measureFlatCopy), bars: []bar{{
			name: "check-flat", set: "podding", unit: "x-of-copy", limit: 0.5, atLeast: true,
			about: "bytes of an unchanged 256 MiB []float64 compared in a CPU second, against copying it",
		}}},
		promise{measure: orBroken(measurePartialLoad), bars: []bar{{
			name: "load-one", set: "podding", unit: "x-of-full", limit: 0.02,
			about: "CPU time of loading 1 of 100 variables (lists of 10,000 strings) from a file just opened, against loading all",
		}}},
		promise{measure: orBroken(measureState), bars: []bar{{
			name: "region-state", set: "podding", unit: "bytes/region", limit: 24,
			about: "memory that a namespace keeps between saves for each object of a tree of 1,000,000 without strings, the program's own apart",
		}}},
		promise{measure: orBroken(measureSizes), bars: []bar{{
			name: "never-slower", set: "podding", unit: "x-of-fastest", limit: 1,
			about: "CPU time of a save after everything has changed, less 30 µs, against the fastest encoder: the worst of trees of 10 to 10,000,000 objects",
		}}},
	)
}

// orBroken makes a measurement that may fail the measurement of a promise.
func orBroken(measure func(context.Context, barEnv, []bar) error) func(context.Context, barEnv, []bar) []bar {
	return func(ctx context.Context, env barEnv, bars []bar) []bar {
		if err := measure(ctx, env, bars); err != nil {
			return broken(bars, err)
		}
		return bars
	}
}

// rivals are the encoders that poddb is measured against.
type rivals struct {
	names  []string
	codecs []codec
}

func newRivals() (r rivals, err error) {
	r.names = rateSystems()[1:]
	for _, name := range r.names {
		c, err := newCodec(name)
		if err != nil {
			return r, err
		}
		r.codecs = append(r.codecs, c)
	}
	return r, nil
}

// times has every rival do the same once and adds what it took to what others took before.
func (r rivals) times(into [][]float64, do func(codec) error) error {
	for i, c := range r.codecs {
		used, err := cpuOf(func() error { return do(c) })
		if err != nil {
			return fmt.Errorf("%s: %w", r.names[i], err)
		}
		into[i] = append(into[i], used)
	}
	return nil
}

// measureFirst measures first saves and full loads of one case. The first round warms buffers and is
// not counted.
func measureFirst(ctx context.Context, c changeCase, bars []bar) error {
	x := c.build()
	others, err := newRivals()
	if err != nil {
		return err
	}
	stored := newPodCodec()
	if err := stored.encode(x.value); err != nil {
		return err
	}
	var save, load []float64
	saves, loads := make([][]float64, len(others.names)), make([][]float64, len(others.names))
	for round := range changeRounds + 1 {
		used, err := cpuOf(func() error {
			saver, err := newChangeSaver(x.value)
			if err != nil {
				return err
			}
			_, err = saver.save(ctx)
			return err
		})
		if err != nil {
			return err
		}
		save = append(save, used)
		if err := others.times(saves, func(r codec) error { return r.encode(x.plain) }); err != nil {
			return err
		}
		var got []reflect.Value
		if used, err = cpuOf(func() error {
			graph, err := podder.NewGraph(podder.Config{Registry: podder.NewRegistry(), Index: true})
			if err != nil {
				return err
			}
			got, err = graph.Load(ctx, &podSource{c: stored}, []string{podCodecRoot}, []reflect.Type{reflect.TypeOf(x.value)})
			return err
		}); err != nil {
			return err
		}
		load = append(load, used)
		if got[0].Type() != reflect.TypeOf(x.value) || got[0].IsZero() {
			return fmt.Errorf("it came back as %s", got[0].Type())
		}
		got = nil
		if err := others.times(loads, func(r codec) error {
			return r.decode(reflect.New(reflect.TypeOf(x.plain)).Interface())
		}); err != nil {
			return err
		}
		if round == 0 {
			save, load = nil, nil
			clear(saves)
			clear(loads)
		}
	}
	runtime.KeepAlive(x)
	bars[0].value, bars[0].note = changeRatio(save, others.names, saves)
	bars[1].value, bars[1].note = changeRatio(load, others.names, loads)
	return nil
}

// appendTree is the hand-written encoder of a tree: what its fields say, one node after the other.
func appendTree(b []byte, n *sizeNode) []byte {
	if n == nil {
		return append(b, 0)
	}
	b = binary.AppendVarint(append(b, 1), n.ID)
	b = binary.LittleEndian.AppendUint64(b, math.Float64bits(n.Score))
	b = appendHand(b, n.Name)
	return appendTree(appendTree(b, n.Left), n.Right)
}

func inOrder(n int) []int {
	order := make([]int, n)
	for i := range order {
		order[i] = i
	}
	return order
}

func measureHand(ctx context.Context, _ barEnv, bars []bar) error {
	order := inOrder(walkObjects)
	for k := range bars {
		if k == 1 {
			order = rand.New(rand.NewPCG(5, 6)).Perm(walkObjects)
		}
		tree := buildSizeTree(order)[0]
		var ours, hand []float64
		var buf []byte
		for round := range barRuns + 1 {
			used, err := cpuOf(func() error {
				saver, err := newChangeSaver(tree)
				if err != nil {
					return err
				}
				_, err = saver.save(ctx)
				return err
			})
			if err != nil {
				return err
			}
			by, err := cpuOf(func() error { buf = appendTree(buf[:0], tree); return nil })
			if err != nil {
				return err
			}
			if round > 0 {
				ours, hand = append(ours, used), append(hand, by)
			}
		}
		runtime.KeepAlive(tree)
		bars[k].value = median(ours) / median(hand)
		bars[k].note = fmt.Sprintf("CPU-ns/object: poddb %.0f hand %.0f", 1e9*median(ours)/walkObjects, 1e9*median(hand)/walkObjects)
	}
	return nil
}

// unchanged saves and fails if something was written though nothing has changed, or nothing though
// all was new.
func (s *changeSaver) unchanged(ctx context.Context, yes bool) error {
	changed, err := s.save(ctx)
	if err == nil && (changed == 0) != yes {
		err = fmt.Errorf("%d slots changed", changed)
	}
	return err
}

// measureSmallCheck compares a tree of small objects that a program built in one go.
func measureSmallCheck(ctx context.Context, _ barEnv, bars []bar) error {
	tree := buildTree(walkObjects)
	saver, err := newChangeSaver(tree)
	if err != nil {
		return err
	}
	var times []float64
	for round := range barRuns + 3 { // the third save is the first that does not walk
		used, err := cpuOf(func() error { return saver.unchanged(ctx, round > 0) })
		if err != nil {
			return err
		}
		if round >= 3 {
			times = append(times, used)
		}
	}
	runtime.KeepAlive(tree)
	bars[0].value = 1e9 * median(times) / walkObjects
	return nil
}

func measureFlatCopy(ctx context.Context, _ barEnv, bars []bar) error {
	flat, copied := make([]float64, flatElements), make([]float64, flatElements)
	for i := range flat {
		flat[i] = float64(i)
	}
	saver, err := newChangeSaver(&flat)
	if err != nil {
		return err
	}
	var compare, move []float64
	for round := range barRuns + 3 {
		used, err := cpuOf(func() error { return saver.unchanged(ctx, round > 0) })
		if err != nil {
			return err
		}
		by, err := cpuOf(func() error { copy(copied, flat); return nil })
		if err != nil {
			return err
		}
		if round >= 3 {
			compare, move = append(compare, used), append(move, by)
		}
	}
	if !slices.Equal(copied, flat) {
		return errors.New("the copy is none")
	}
	bars[0].value = median(move) / median(compare)
	bars[0].note = fmt.Sprintf("GB/CPU-s: compared %.3g copied %.3g", 8*flatElements/median(compare)/1e9, 8*flatElements/median(move)/1e9)
	return nil
}

const (
	partialVars     = 100
	partialElements = 10_000
)

// measurePartialLoad loads one and all of the variables of a file; each time it is opened anew, so
// that caches hold nothing but what the operating system has read.
func measurePartialLoad(ctx context.Context, env barEnv, bars []bar) (err error) {
	dir, remove, err := engineDir(env)
	if err != nil {
		return err
	}
	defer remove()
	path := filepath.Join(dir, "partial.pod")
	rnd := random(params{"seed": 1})
	all := make([]string, partialVars)
	if err := withDB(ctx, path, func(d *db.DB) error {
		ns, err := d.Namespace(ctx, "main")
		if err != nil {
			return err
		}
		for i := range all {
			all[i] = fmt.Sprintf("list/%03d", i)
			l := make([]string, partialElements)
			for k := range l {
				l[k] = randomString(rnd)
			}
			if err := ns.Set(ctx, all[i], &l); err != nil {
				return err
			}
		}
		_, err = ns.Save(ctx)
		return err
	}); err != nil {
		return err
	}
	load := func(names []string) (used float64, err error) {
		return used, withDB(ctx, path, func(d *db.DB) error {
			head, err := d.Head(ctx, "main")
			if err != nil {
				return err
			}
			snap, err := d.At(ctx, head)
			if err != nil {
				return err
			}
			defer snap.Close()
			vars := map[string]any{}
			for _, name := range names {
				vars[name] = nil
			}
			if used, err = cpuOf(func() error { return snap.Load(ctx, &vars) }); err != nil {
				return err
			}
			for _, name := range names {
				if l, ok := vars[name].(*[]string); !ok || len(*l) != partialElements {
					return fmt.Errorf("%s came back as %T", name, vars[name])
				}
			}
			return nil
		})
	}
	var full, one []float64
	for i := range barRuns + 1 {
		a, err := load(all)
		if err != nil {
			return err
		}
		b, err := load(all[17*i%partialVars:][:1])
		if err != nil {
			return err
		}
		if i > 0 {
			full, one = append(full, a), append(one, b)
		}
	}
	bars[0].value = median(one) / median(full)
	bars[0].note = fmt.Sprintf("CPU-ms: one %.3g all %.4g", 1e3*median(one), 1e3*median(full))
	return nil
}

func withDB(ctx context.Context, path string, fn func(*db.DB) error) (err error) {
	d, err := db.Open(ctx, path, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	return fn(d)
}

// measureState has a process of its own tell what its graph keeps.
func measureState(ctx context.Context, _ barEnv, bars []bar) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, self, "helper", "state", "")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return err
	}
	return json.Unmarshal(out, &bars[0].value)
}

// stateHelper is that process: it saves until saves do not walk, and compares what it has of memory
// with what it had before.
func stateHelper(ctx context.Context) error {
	tree := buildTree(walkObjects)
	saver, err := newChangeSaver(tree)
	if err != nil {
		return err
	}
	before, err := residentBytes()
	if err != nil {
		return err
	}
	for range 3 {
		tree.ID++
		if _, err := saver.save(ctx); err != nil {
			return err
		}
	}
	after, err := residentBytes()
	if err != nil {
		return err
	}
	runtime.KeepAlive(tree)
	runtime.KeepAlive(saver)
	return json.NewEncoder(os.Stdout).Encode(float64(after-before) / walkObjects)
}

// residentBytes returns the memory of this process that the system could not take back at once, when
// the collector has given back what nobody uses.
func residentBytes() (int64, error) {
	debug.FreeOSMemory()
	var of [2]int64
	for i, name := range []string{"Rss", "LazyFree"} {
		text, _, _ := strings.Cut(field("/proc/self/smaps_rollup", name), " ")
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("%s of /proc/self/smaps_rollup: %w", name, err)
		}
		of[i] = n << 10
	}
	return of[0] - of[1], nil
}

// sizeNode is an object of the trees of all sizes.
type sizeNode struct {
	_           struct{} `cbor:",toarray"`
	ID          int64
	Score       float64
	Name        string
	Left, Right *sizeNode
}

// buildSizeTree makes a balanced tree, of which the nodes are made in the given order, and returns
// all of them, the root first.
func buildSizeTree(order []int) []*sizeNode {
	n := len(order)
	nodes := make([]*sizeNode, n)
	for _, i := range order {
		nodes[i] = &sizeNode{ID: int64(i), Score: 1 / float64(i+1), Name: "node-" + strconv.Itoa(i)}
	}
	for i := range nodes {
		if l := 2*i + 1; l < n {
			nodes[i].Left = nodes[l]
		}
		if r := 2*i + 2; r < n {
			nodes[i].Right = nodes[r]
		}
	}
	return nodes
}

// leastTimed is how many objects a measurement is of at least: small trees are saved many times.
const leastTimed = 100_000

func measureSizes(ctx context.Context, _ barEnv, bars []bar) error {
	others, err := newRivals()
	if err != nil {
		return err
	}
	bars[0].value = 0
	for n := 10; n <= 10_000_000; n *= 10 {
		nodes := buildSizeTree(inOrder(n))
		saver, err := newChangeSaver(nodes[0])
		if err != nil {
			return err
		}
		save := func() error {
			for _, node := range nodes {
				node.ID++
				node.Score++
			}
			changed, err := saver.save(ctx)
			if err == nil && changed < n {
				err = fmt.Errorf("%d of %d objects changed", changed, n)
			}
			return err
		}
		for range 3 {
			if err := save(); err != nil {
				return err
			}
		}
		calls, rounds := max(1, leastTimed/n), barRuns
		if n >= 1_000_000 {
			rounds = 3
		}
		var ours []float64
		times := make([][]float64, len(others.names))
		for range rounds {
			used, err := cpuOfCalls(calls, save)
			if err != nil {
				return err
			}
			ours = append(ours, used)
			for i, c := range others.codecs {
				used, err := cpuOfCalls(calls, func() error { return c.encode(nodes[0]) })
				if err != nil {
					return fmt.Errorf("%s: %w", others.names[i], err)
				}
				times[i] = append(times[i], used)
			}
		}
		best := math.Inf(1)
		for _, t := range times {
			best = min(best, median(t))
		}
		ratio := (median(ours) - 30e-6) / best
		bars[0].value = max(bars[0].value, ratio)
		bars[0].note += fmt.Sprintf("%d: %.3g (CPU-ns/object %.0f, fastest %.0f); ", n, ratio, 1e9*median(ours)/float64(n), 1e9*best/float64(n))
		runtime.KeepAlive(nodes)
	}
	return nil
}
