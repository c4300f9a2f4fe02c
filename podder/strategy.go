package podder

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"

	"github.com/poddb/poddb/internal/dberr"
)

// Strategy says where the graphs of a database are cut into pods. A save asks it for
// each new object, array or map that something else led to, and for nothing that has its
// place already: what is stored is read alike whichever strategy wrote it, and a change
// of strategy moves nothing.
//
// Whatever it says, pods are bounded: where what is bundled would pass
// Config.TargetBytes it is cut as cluster.go says, and containers beyond 8 targets are
// stored in chunks.
type Strategy interface {
	// Split reports whether the child begins a pod of its own, with what is bundled with
	// it; else it joins the pod of its parent. The answer must depend on c alone, so that
	// equal graphs are placed equally. It may be called from several goroutines, and must
	// not keep c.
	Split(c *Choice) bool
}

// Choice is what is known when a child is met. What hangs on the child was decided
// before, and so was what hangs on the siblings after it.
type Choice struct {
	// Number counts the choices that the graph has made before, in saves that were
	// committed and in this one.
	Number int
	// Parent and Child are the types of what refers and of what is referred to: of the
	// elements, if that is an array.
	Parent, Child reflect.Type
	// Container says that the child is an array or a map.
	Container bool
	// Piece is the parent, with what is bundled with it so far, or if there is no room for
	// both in a pod what of that is bundled without it; ChildPiece is the child with what is
	// bundled with that.
	Piece, ChildPiece PieceSize
	// Both is what the two are together.
	Both PieceSize
	// Commits is the length of the history that the rates are from, 0 if there is none.
	Commits int
}

// PieceSize is how large a part of a pod is and how often it changes.
type PieceSize struct {
	Objects int     // objects, arrays, maps and long strings
	Bytes   int     // encoded, about
	Rate    float64 // expected share of commits that change any of it, 0 if nothing is known
	Changed float64 // bytes of it that a commit is expected to change, in the mean of all
}

// with returns the size of two pieces together, that change together as much as
// pod.Rates says.
func (s PieceSize) with(o PieceSize, together float64) PieceSize {
	apart := s.Rate + o.Rate - s.Rate*o.Rate
	return PieceSize{
		Objects: s.Objects + o.Objects,
		Bytes:   s.Bytes + o.Bytes,
		Rate:    apart + together*(max(s.Rate, o.Rate)-apart),
		Changed: s.Changed + o.Changed,
	}
}

// Learned returns the default: it bundles, but for what the history of the database says
// costs less in a pod of its own (strategy_cost.go). In a database without history it is
// BundleAll up to the target.
func Learned() Strategy { return learned{} }

// BundleAll returns the strategy that fills pods up to 8 targets, the most that a
// pod may have that is not one large object.
func BundleAll() Strategy { return bundleAll{} }

// SplitAll returns the strategy that gives everything a pod of its own.
func SplitAll() Strategy { return splitAll{} }

// ByType returns the strategy that begins pods at values of the types given (elements,
// of arrays); without any, at arrays and maps.
func ByType(types ...reflect.Type) Strategy { return byType{slices.Clone(types)} }

// Random returns the strategy that tosses a coin for each choice. Equal seeds toss
// equally.
func Random(seed uint64) Strategy { return random{seed} }

// Greedy returns the rule of Chipmink (PVLDB 19) with one rate of change for all
// objects, the share of commits that change one: it takes what is expected to be written
// by one save, if each pod that changes is written whole, and bundles on a tie.
func Greedy(rate float64) Strategy { return greedy{rate} }

type (
	bundleAll struct{}
	splitAll  struct{}
	byType    struct{ types []reflect.Type }
	random    struct{ seed uint64 }
	greedy    struct{ rate float64 }
)

func (bundleAll) Split(*Choice) bool { return false }
func (splitAll) Split(*Choice) bool  { return true }

func (b byType) Split(c *Choice) bool {
	if len(b.types) == 0 {
		return c.Container
	}
	return slices.Contains(b.types, c.Child)
}

func (r random) Split(c *Choice) bool {
	return rand.NewPCG(r.seed, uint64(c.Number)).Uint64()&1 == 1
}

func (g greedy) Split(c *Choice) bool {
	of := func(s PieceSize) (bytes, rate float64) {
		return float64(s.Bytes), min(g.rate*float64(s.Objects), 1)
	}
	pBytes, p := of(c.Piece)
	oBytes, o := of(c.ChildPiece)
	return pBytes*p+oBytes*o+2*podCost < (pBytes+oBytes)*min(p+o, 1)+podCost
}

// MaxOptimal is how many choices Optimal takes: it tries 2 to the power of that many
// strategies.
const MaxOptimal = 16

// Optimal tries all ways to make the first n choices of a graph, bundling after them,
// and returns the one with the lowest cost. cost is told a strategy and says what it
// comes to, in any unit. It is for graphs of few objects, to compare with.
func Optimal(n int, cost func(Strategy) (float64, error)) (best Strategy, lowest float64, err error) {
	if n < 0 || n > MaxOptimal {
		return nil, 0, fmt.Errorf("%d choices for Optimal, at most %d: %w", n, MaxOptimal, dberr.ErrInvalid)
	}
	for splits := range uint64(1) << n {
		s := fixed{splits}
		c, err := cost(s)
		if err != nil {
			return nil, 0, fmt.Errorf("cost of %d choices, splits %b: %w", n, splits, err)
		}
		if best == nil || c < lowest {
			best, lowest = s, c
		}
	}
	return best, lowest, nil
}

// fixed makes its first choices as the bits say, the lowest first.
type fixed struct{ splits uint64 }

func (f fixed) Split(c *Choice) bool { return c.Number < 64 && f.splits>>c.Number&1 == 1 }
