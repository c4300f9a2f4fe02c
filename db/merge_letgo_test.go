package db_test

import (
	"context"
	"testing"

	"github.com/poddb/poddb/db"
)

// What a branch did to an object before it let go of it goes nowhere: with the choice for the other
// branch, that has the object as it made it.
func TestMergeTakesNothingOfWhatWasLetGoOf(t *testing.T) {
	for name, c := range map[string]struct {
		make func(d trays) (into, from string)
		want string
	}{
		"a variable that a merge gave other contents": {func(d trays) (string, string) {
			d.fork("other")
			d.fresh("main", "a", 1)
			before := must(d.d.Head(context.Background(), "main"))(d.T)
			d.fresh("other", "a", 2)
			d.merge("main", "other", db.TakeTheirs)
			d.fork("gone")
			d.delete("gone", "a")
			if err := d.d.Branch(context.Background(), "kept", before); err != nil {
				d.Fatal(err)
			}
			d.edit("kept", "a", func(x *tray) { x.N = 7 })
			return "kept", "gone"
		}, "7 1"},
		"a variable": {func(d trays) (string, string) {
			d.fresh("main", "a", 1)
			d.fork("gone")
			d.edit("gone", "a", func(x *tray) { x.Cups[0].V, x.N = 8, 9 })
			d.delete("gone", "a")
			d.edit("main", "a", func(x *tray) { x.N = 7 })
			return "main", "gone"
		}, "7 1"},
		"an object that the other branch took elsewhere": {func(d trays) (string, string) {
			d.fresh("main", "b", 1)
			d.put("main", "a", func(func(string) *tray) *tray { return &tray{N: 3} })
			d.fork("gone")
			d.edit("gone", "b", func(x *tray) { x.Cups[0].V = 8 })
			d.edit("gone", "b", func(x *tray) { x.Cups = nil })
			d.put("main", "a", func(get func(string) *tray) *tray {
				x := get("a")
				x.Cups = get("b").Cups
				return x
			})
			return "main", "gone"
		}, "3 1"},
	} {
		for _, turned := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				d := openTrays(t)
				d.put("main", "z", func(func(string) *tray) *tray { return &tray{N: 1} })
				into, from := c.make(d)
				choice := db.TakeOurs
				if turned {
					into, from, choice = from, into, db.TakeTheirs
				}
				d.merge(into, from, choice)
				d.is(into, "a", c.want)
			})
		}
	}
}
