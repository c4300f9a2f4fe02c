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
		slices.Sort(r)
		rows[i] = Row{all[i].name, r[len(r)/2], r[len(r)*9/10], r[len(r)-1]}
	}
	return rows, nil
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
