package podder

import (
	"context"
	"encoding/binary"
	"fmt"
	"reflect"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/pod"
)

// Config fixes how a Graph places and hashes. The zero value of each field
// stands for its default.
type Config struct {
	// Registry knows the types that may stand behind interfaces; nil is an
	// empty one.
	Registry *Registry
	// Secret keys every hash; see pod.Source.
	Secret [32]byte
	// TargetBytes is the encoded size to which pods are filled, 8 KiB by
	// default. A larger region is a pod of its own.
	TargetBytes int
	// Strategy says where the graph is cut into pods; nil is Learned.
	Strategy Strategy
	// Repod lets Learned move what is stored (repod.go).
	Repod bool
	// ZeroUnsupported stores funcs, channels and unsafe pointers as nil, where a
	// save would refuse them.
	ZeroUnsupported bool
	// Warn is told what a load or save found that is no error; nil is silent.
	Warn func(ctx context.Context, what string)
	// MaxUnstored is how many bytes one load may allocate beyond 64 for each
	// stored byte; 0 is DefaultMaxUnstored. Slices with a large capacity beyond
	// their elements, and large fields that are not stored, need it.
	MaxUnstored int64
	// MaxLoad is how many bytes of objects, arrays and maps one load may
	// allocate; 0 is no limit but what the stored bytes justify. What is beyond
	// is ErrTooLarge, as with MaxUnstored.
	MaxLoad int64
	// Index has saves that follow others look only at what changed (resave.go). The
	// second save of a graph pays for it.
	Index bool
	// Loads keeps loaders for the next loads of one variable; nil keeps none. All who
	// have it read one catalogue with this Registry.
	Loads *Loads
	// IndexBytes bounds what saves keep for that, of the fingerprints of one graph and of the strings
	// and boxes that they trust; beyond it saves walk. 0 is no bound.
	IndexBytes int64
	// VerifyEvery has every n-th such save followed by a walk that changes nothing; if
	// it finds that something was missed, the save fails with ErrUnsound. 0 is never.
	VerifyEvery int
	// Hints knows of memory that was not written, which such saves do not compare; nil
	// knows nothing.
	Hints HintSource
}

// DefaultTargetBytes is the size of pods unless Config says otherwise.
const DefaultTargetBytes = 8 << 10

func (c Config) filled() (Config, error) {
	if c.TargetBytes == 0 {
		c.TargetBytes = DefaultTargetBytes
	}
	if c.MaxUnstored < 0 || c.MaxLoad < 0 {
		return c, fmt.Errorf("limits of a load, %d and %d bytes: %w", c.MaxUnstored, c.MaxLoad, dberr.ErrInvalid)
	}
	if c.IndexBytes < 0 {
		return c, fmt.Errorf("an index of %d bytes: %w", c.IndexBytes, dberr.ErrInvalid)
	}
	if c.TargetBytes < 0 || c.TargetBytes > 1<<30 {
		return c, fmt.Errorf("pod size %d: %w", c.TargetBytes, dberr.ErrInvalid)
	}
	if c.Strategy == nil {
		c.Strategy = Learned()
	}
	if c.Registry == nil {
		c.Registry = NewRegistry()
	}
	return c, nil
}

// Root is one variable of a save.
type Root struct {
	Name  string
	Value reflect.Value
	Pod   pod.ID // the pod that holds it, 0 if it is new
}

// Graph is the live state of a set of variables between saves: placement,
// addresses, hashes. It keeps every object it knows from being collected. It
// is not safe for concurrent use.
type Graph struct {
	cfg     Config
	eng     *engine
	cur     *state
	roots   map[string]pod.ID
	hidden  hiddenValues
	zeroed  int // values that the newest save stored as nil
	spare   spareBlocks
	idle    idleTables
	others  bool      // Others
	late    bool      // a first save encodes nothing before all is placed (a test)
	resaved int       // saves without a walk
	choices int       // that the strategy made
	rates   slotRates // what transactions said last of the history
	open    *Saved    // what waits for its fate, nil for nothing
	// reshaped are slots whose values lose parts when they are written (reshaped.go).
	reshaped map[pod.Ref]*decodePlan
	repod    repodding
	asOf     uint64 // the moment of the newest committed save (hints.go)
	lone     lone
}

// NewGraph returns an empty graph. It fails on sizes that make no sense.
func NewGraph(cfg Config) (*Graph, error) {
	cfg, err := cfg.filled()
	if err != nil {
		return nil, err
	}
	g := &Graph{
		cfg:   cfg,
		eng:   newEngine(cfg.Registry, binary.LittleEndian.Uint64(cfg.Secret[:8]), cfg.ZeroUnsupported),
		roots: map[string]pod.ID{},

		hidden: hiddenValues{},
	}
	g.cur, g.repod = g.newState(), g.repodCredits()
	return g, nil
}

// newState returns an empty state of the graph.
func (g *Graph) newState() *state {
	st := g.idle.state()
	st.home = &g.idle
	st.own.spare, st.pinned.spare = &g.spare, &g.spare
	return st
}

// Holds reports whether the graph depends on a pod: it holds one of its
// objects, or its root variable.
func (g *Graph) Holds(id pod.ID) bool {
	if g.lone.id != 0 {
		return g.lone.id == id
	}
	n, ok := g.cur.byID[id]
	return ok && g.cur.live.hasPod(g.cur, n) || g.cur.hasChunk(id)
}

// IndexBytes returns what the fingerprints take by which the next save can do without a
// walk, 0 if it cannot.
func (g *Graph) IndexBytes() int64 {
	if !g.cur.prints.known {
		return 0
	}
	return g.cur.prints.bytes()
}

// Forget drops the placement of a variable: the next Save that names it gives
// it a new pod. Objects that other variables reach keep theirs.
func (g *Graph) Forget(name string) {
	g.settle()
	delete(g.roots, name)
}

// rootPod returns the pod of a variable that was saved or loaded.
func (g *Graph) rootPod(name string) (pod.ID, bool) {
	id, ok := g.roots[name]
	return id, ok
}
