package main

import (
	"math/rand/v2"
	"strconv"
)

// What is saved again after something of it has changed. Whoever changes it says
// nothing of what it was. Rivals get the same values, but where these have cycles:
// there they get indices instead of pointers.

// changing is a value of which parts can be changed.
type changing struct {
	value any
	plain any // what rivals encode: value, or the same without cycles
	parts int
	alter func(part int, rnd *rand.Rand)
}

// changeCase is one such value.
type changeCase struct {
	name, about string
	build       func() changing
}

func changeCases() []changeCase {
	return []changeCase{
		{"rmtree", "100 lists of 10,000 strings of 100 bytes; elements are replaced", buildStringLists},
		{"agents", "100,000 agents with inventories and neighbours, in cycles; they move", buildAgents},
		{"service", "map[string]*User of 100,000 with strings, tags and sessions; a balance and a session change", buildService},
		{"tree", "300,000 structs with name, score, tags, children and a small map; scores change", buildChangingTree},
	}
}

func buildStringLists() changing {
	const lists, elements = 100, 10_000
	rnd := random(params{"seed": 1})
	all := make([]*Strings, lists)
	for i := range all {
		all[i] = &Strings{Items: make([]string, elements)}
		for k := range all[i].Items {
			all[i].Items[k] = randomString(rnd)
		}
	}
	return changing{all, all, lists * elements, func(part int, rnd *rand.Rand) {
		all[part/elements].Items[part%elements] = randomString(rnd)
	}}
}

type agent struct {
	ID         int64
	Name       string
	X, Y       float64
	Inventory  []agentItem
	Neighbours []*agent
}

type agentItem struct {
	Kind  string
	Count int
}

// plainAgent is an agent as an encoder without identity can write it.
type plainAgent struct {
	_          struct{} `cbor:",toarray"`
	ID         int64
	Name       string
	X, Y       float64
	Inventory  []plainItem
	Neighbours []int32
}

type plainItem struct {
	_     struct{} `cbor:",toarray"`
	Kind  string
	Count int
}

func buildAgents() changing {
	const agents, neighbours = 100_000, 4
	rnd := random(params{"seed": 2})
	all, plain := make([]*agent, agents), make([]*plainAgent, agents)
	for i := range all {
		all[i] = &agent{ID: int64(i), Name: "agent-" + strconv.Itoa(i), X: rnd.Float64(), Y: rnd.Float64()}
		plain[i] = &plainAgent{ID: int64(i), Name: all[i].Name, X: all[i].X, Y: all[i].Y}
		for k := range 1 + i%3 {
			all[i].Inventory = append(all[i].Inventory, agentItem{rateWords[(i+k)%len(rateWords)], i % 17})
			plain[i].Inventory = append(plain[i].Inventory, plainItem{Kind: rateWords[(i+k)%len(rateWords)], Count: i % 17})
		}
	}
	for i := range all {
		for range neighbours {
			j := rnd.IntN(agents)
			all[i].Neighbours = append(all[i].Neighbours, all[j])
			plain[i].Neighbours = append(plain[i].Neighbours, int32(j))
		}
	}
	return changing{all, plain, agents, func(part int, rnd *rand.Rand) {
		x, y := rnd.Float64(), rnd.Float64()
		all[part].X, all[part].Y = x, y
		plain[part].X, plain[part].Y = x, y
	}}
}

func buildService() changing {
	m := buildRateUsers()
	users := make([]*rateUser, rateMapEntries)
	for i := range users {
		users[i] = m["user-"+strconv.Itoa(i)]
	}
	return changing{m, m, len(users), func(part int, rnd *rand.Rand) {
		users[part].Balance = rnd.Float64()
		users[part].Sessions[0].Hits++
	}}
}

func buildChangingTree() changing {
	const nodes = 300_000
	root := buildRateTree(0, nodes)
	all := make([]*rateNode, 0, nodes)
	var list func(n *rateNode)
	list = func(n *rateNode) {
		all = append(all, n)
		for _, child := range n.Children {
			list(child)
		}
	}
	list(root)
	return changing{root, root, len(all), func(part int, rnd *rand.Rand) { all[part].Score = rnd.Float64() }}
}

// change changes one part in every, scattered.
func (c *changing) change(every int, rnd *rand.Rand) {
	if every == 1 {
		for i := range c.parts {
			c.alter(i, rnd)
		}
		return
	}
	for _, i := range pick(rnd, c.parts, c.parts/every) {
		c.alter(i, rnd)
	}
}
