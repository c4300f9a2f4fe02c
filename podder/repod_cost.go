package podder

import (
	"cmp"
	"math/bits"
	"math/rand/v2"
	"slices"
)

// mostGroups is into how many pods one is split at a time.
const mostGroups = 8

func (learned) learns() bool { return true }

// leave splits the pod where that is expected to store less over the commits to come (as many
// as there were), beside what it costs once: the objects are written again, and
// leave forwarders. Parts are taken by how often they changed, from either end; of each
// group the versions that changed any of it are counted, so it is known how much
// its parts change together.
func (learned) leave(c *podCase) (groups [][]int) {
	h := &c.history
	if h.Versions == 0 || h.Commits == 0 {
		return nil
	}
	rest := partGroup{list: make([]int, 0, len(c.parts))}
	for k := range c.parts {
		rest.list = append(rest.list, k)
	}
	slices.SortStableFunc(rest.list, func(a, b int) int {
		return cmp.Compare(bits.OnesCount32(c.parts[b].changed), bits.OnesCount32(c.parts[a].changed))
	})
	for _, k := range rest.list {
		rest.add(c, k)
	}
	var out []partGroup
	for len(out) < mostGroups {
		if g, ok := rest.cut(c, true); ok {
			out = append(out, g)
			continue
		}
		again := false
		for k := range out {
			if g, ok := out[k].cut(c, false); ok {
				out, again = append(out, g), true
				break
			}
		}
		if !again {
			break
		}
	}
	for _, g := range out {
		slices.Sort(g.list)
		groups = append(groups, g.list)
	}
	return groups
}

// partGroup are parts of a pod that stay together.
type partGroup struct {
	list         []int // those that change most first
	count, bytes int   // count is of those taken so far
	changed      uint32
	differs      int // bytes that changed in these versions
}

func (g *partGroup) add(c *podCase, k int) {
	g.bytes += c.parts[k].bytes
	g.changed |= c.parts[k].changed
	g.differs += c.parts[k].differs
}

// over is what a pod of these parts is expected to store in so many commits beside what
// changes. (The rate is the mean of a beta distribution after what was counted; the
// prior is Jeffreys'.)
func (g *partGroup) over(c *podCase, commits float64) float64 {
	versions := bits.OnesCount32(g.changed)
	s := PieceSize{Rate: min((float64(versions)+0.5)/float64(c.history.Commits+1), 1), Bytes: g.bytes}
	if versions > 0 {
		s.Changed = s.Rate * float64(g.differs) / float64(versions)
	}
	return s.over(commits)
}

// cut takes parts out of the group, if that pays: those that change most or least. stored says
// that the group is in a pod already, so what leaves it is written once more.
func (g *partGroup) cut(c *podCase, stored bool) (_ partGroup, ok bool) {
	horizon := float64(min(max(c.commits, leastHorizon), mostHorizon))
	least, best, reversed := clearlyLess*g.over(c, horizon), 0, false
	for _, last := range []bool{false, true} {
		list := g.list
		if last {
			list = slices.Clone(list)
			slices.Reverse(list)
		}
		behind := make([]partGroup, len(list)+1) // what is behind each
		for k := len(list) - 1; k >= 0; k-- {
			behind[k] = behind[k+1]
			behind[k].add(c, list[k])
		}
		var taken, stays partGroup
		for k := range list[:len(list)-1] {
			if c.parts[list[k]].stays {
				stays.add(c, list[k])
				continue
			}
			taken.add(c, list[k])
			rest := behind[k+1]
			rest.bytes, rest.changed, rest.differs = rest.bytes+stays.bytes, rest.changed|stays.changed, rest.differs+stays.differs
			cost := podCost + taken.over(c, horizon) + rest.over(c, horizon)
			if taken.count++; stored {
				cost += float64(taken.bytes + forwardCost*taken.count)
			}
			if cost < least {
				least, best, reversed = cost, k+1, last
			}
		}
	}
	if best == 0 {
		return partGroup{}, false
	}
	if reversed {
		slices.Reverse(g.list)
	}
	var taken, rest partGroup
	for k, at := range g.list {
		to := &rest
		if k < best && !c.parts[at].stays {
			to = &taken
		}
		to.list = append(to.list, at)
		to.add(c, at)
	}
	if reversed {
		slices.Reverse(taken.list)
		slices.Reverse(rest.list)
	}
	*g = rest
	return taken, true
}

// Restless returns a strategy for tests: it splits off one in eight objects at random, and lets
// others leave their pods at random whenever a save may move them.
func Restless(seed uint64) Strategy { return restless{seed} }

type restless struct{ seed uint64 }

func (s restless) Split(c *Choice) bool {
	return rand.NewPCG(s.seed, uint64(c.Number)).Uint64()&7 == 0
}

func (restless) learns() bool { return false }

func (s restless) leave(c *podCase) (groups [][]int) {
	r := rand.New(rand.NewPCG(s.seed, uint64(c.id)<<20+uint64(c.save)))
	if r.IntN(3) > 0 {
		return nil
	}
	groups = make([][]int, 1+r.IntN(2))
	for k := range c.parts {
		if g := r.IntN(len(groups) + 2); !c.parts[k].stays && g < len(groups) {
			groups[g] = append(groups[g], k)
		}
	}
	return slices.DeleteFunc(groups, func(g []int) bool { return len(g) == 0 })
}
