package strategies

import (
	"context"
	"fmt"
	"reflect"
	"runtime"
	"slices"
	"sync"

	"github.com/poddb/poddb/db"
)

// Row is what one strategy stores, against the optimum of each program.
type Row struct {
	Strategy           string
	Median, P90, Worst float64
}

// contender is a strategy that is compared.
type contender struct {
	name    string
	of      func(*Program) db.Strategy
	history bool
}

func always(s db.Strategy) func(*Program) db.Strategy {
	return func(*Program) db.Strategy { return s }
}

// contenders are all strategies. ByType is told which types change in more than a third
// of the commits, as somebody who knows the program would.
func contenders() []contender {
	return []contender{
		{"Learned", always(db.Learned()), true},
		{"Learned, no history", always(db.Learned()), false},
		{"BundleAll", always(db.BundleAll()), false},
		{"SplitAll", always(db.SplitAll()), false},
		{"ByType(volatile)", func(p *Program) db.Strategy { return db.ByType(p.volatile()...) }, false},
		{"Random", func(p *Program) db.Strategy { return db.RandomStrategy(p.Seed) }, false},
		{"Greedy(0.02)", always(db.Greedy(0.02)), false},
		{"Greedy(0.1)", always(db.Greedy(0.1)), false},
		{"Greedy(0.5)", always(db.Greedy(0.5)), false},
	}
}

// volatile are the types that change often.
func (p *Program) volatile() (types []reflect.Type) {
	all := [kinds]reflect.Type{reflect.TypeFor[KindA](), reflect.TypeFor[KindB](), reflect.TypeFor[KindC](), reflect.TypeFor[KindD]()}
	for k, t := range all {
		if p.rate[k] > 1.0/3 {
			types = append(types, t)
		}
	}
	return types
}

// Compare runs programs with all strategies, and returns a row for each in the order of
// contenders.
func Compare(ctx context.Context, programs []*Program) ([]Row, error) {
	all := contenders()
	ratios := make([][]float64, len(all))
	for i := range ratios {
		ratios[i] = make([]float64, len(programs))
	}
	// Mostly they wait, for logs to come to rest.
	turns := make(chan struct{}, 8*runtime.GOMAXPROCS(0))
	errs := make([]error, len(programs))
	var wg sync.WaitGroup
	for n, p := range programs {
		turns <- struct{}{}
		wg.Go(func() {
			defer func() { <-turns }()
			best, err := p.Optimum(ctx)
			for i := range all {
				if err != nil {
					break
				}
				var stored float64
				stored, _, err = p.Stored(ctx, all[i].of(p), all[i].history)
				ratios[i][n] = stored / best
			}
			errs[n] = err
		})
	}
	wg.Wait()
	for n, err := range errs {
		if err != nil {
			return nil, fmt.Errorf("program %d: %w", programs[n].Seed, err)
		}
	}
	rows := make([]Row, len(all))
	for i, r := range ratios {
		rows[i] = rowOf(all[i].name, r)
	}
	return rows, nil
}

// LongRow compares, with Options.Repod, Learned in a database without history with Learned that has one and with
// BundleAll, over a number of commits: stored bytes in those of Learned with a history.
type LongRow struct {
	Commits           int
	NoHistory, Bundle Row
}

// Long runs the first n programs for as many commits.
func Long(ctx context.Context, n, commits int) (LongRow, error) {
	ratios := [2][]float64{make([]float64, n), make([]float64, n)}
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			p := New(uint64(i), mostObjects, commits)
			p.Repod = true
			taught, _, err := p.Stored(ctx, db.Learned(), true)
			for k, s := range []db.Strategy{db.Learned(), db.BundleAll()} {
				if err != nil {
					break
				}
				var stored float64
				stored, _, err = p.Stored(ctx, s, false)
				ratios[k][i] = stored / taught
			}
			errs[i] = err
		})
	}
	wg.Wait()
	for i, err := range errs {
		if err != nil {
			return LongRow{}, fmt.Errorf("program %d over %d commits: %w", i, commits, err)
		}
	}
	return LongRow{commits, rowOf("Learned, no history", ratios[0]), rowOf("BundleAll", ratios[1])}, nil
}

// rowOf is the row of a strategy.
func rowOf(name string, ratios []float64) Row {
	slices.Sort(ratios)
	return Row{name, ratios[len(ratios)/2], ratios[len(ratios)*9/10], ratios[len(ratios)-1]}
}

// Programs returns the first n programs, of up to 5 objects and 32 commits.
func Programs(n int) []*Program {
	list := make([]*Program, n)
	for i := range list {
		list[i] = New(uint64(i), mostObjects, commitsEach)
	}
	return list
}

const (
	mostObjects = 5
	commitsEach = 32
)
