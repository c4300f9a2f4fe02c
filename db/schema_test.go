package db_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"weak"

	"github.com/poddb/poddb/db"
)

type (
	orderV1 struct {
		ID       int32
		Customer string
		Lines    []lineV1
		Total    float64
		Paid     bool
		Note     string
		Tags     map[string]int
		Ref      *lineV1
		By       any
		Gone     [4]uint8
		Level    levelV1
		Port     portV1
		Ports    map[string][]*portV1
	}
	lineV1  struct{ Amount int }
	levelV1 int8
	shipV1  struct {
		Street, Town string
		Zip          int
	}
	orderV2 struct {
		ID        int64
		Customers string
		Lines     []lineV2
		Total     string
		Settled   bool `pod:"settled,was=Paid"`
		Tags      map[string]int
		Ref       lineV2
		By        *lineV2
		Fresh     [4]uint8
		Level     levelV2
		Port      *harborV2
		Ports     map[string][]*harborV2
	}
	portV1    struct{ Name string }
	harborV2  struct{ Name string }
	lineV2    struct{ Amount int8 }
	levelV2   uint16
	shippedV2 struct {
		Street, Town string
		Zip          int
		Country      string
	}
	brandNew struct{ X int }
)

// The report names every difference with what to do about it, and what it says
// is what a load does.
func TestSchemaReportSaysWhatBecomesOfEachType(t *testing.T) {
	ctx := context.Background()
	path := filepath.Join(t.TempDir(), "s.pod")
	old := db.Types(db.Type[orderV1]("shop.Order"), db.Type[lineV1]("shop.Line"), db.Type[shipV1]("shop.Ship"), db.Type[portV1]("shop.Port"), db.Type[levelV1]("shop.Level"), db.Type[userV1]("app.User"), db.Type[cityV1]("app.City"))
	d := must(db.Open(ctx, path, &db.Options{Types: old}))(t)
	ns := namespace(t, d)
	set(t, ns, "o", &orderV1{Lines: []lineV1{{1}, {2}}})
	set(t, ns, "s", &[]any{&shipV1{}, &userV1{}, shipV1{}})
	v := save(t, ns)
	stored := must(d.Schema(ctx))(t)
	s := must(d.At(ctx, v))(t)
	counts := must(s.CountTypes(ctx))(t)
	s.Close()
	for _, st := range stored {
		if want := map[string]int64{"shop.Order": 1, "shop.Line": 2, "app.User": 1, "shop.Ship": 1}[st.Name]; want != 0 && st.ID != 0 && counts[st.ID] != want {
			t.Errorf("%d values of %s, want %d", counts[st.ID], st.Name, want)
		}
	}
	now := db.Types(append(append([]db.TypeEntry(nil), migrations[1:]...), db.Type[userV3]("app.User"), db.Type[orderV2]("shop.Bill", db.Alias("shop.Order")), db.Type[harborV2]("shop.Harbor", db.Alias("shop.Port")), db.Type[lineV2]("shop.Line"),
		db.Type[shippedV2]("shop.Shipped"), db.Type[levelV2]("shop.Level"))...)
	desc := must(db.DescribeTypes(now, &brandNew{}))(t)
	changes := must(db.CompareTypes(stored, desc))(t)
	got := map[string]string{}
	for _, c := range changes {
		line := c.Change + " " + c.Now
		if c.Rename != nil {
			line += fmt.Sprintf(" maybe %s %.1f %s", c.Rename.To, c.Rename.Score, c.Rename.Do)
		}
		got[c.Stored] += line + ";"
		if c.Stored == "" {
			got[c.Now] = c.Change
		}
		for _, f := range c.Fields {
			line := f.Change + " " + f.Now
			if f.Rename != nil {
				line += fmt.Sprintf(" maybe %s %s", f.Rename.To, f.Rename.Do)
			}
			got[c.Stored+"."+f.Stored] = line
			if f.Stored == "" {
				got[c.Stored+"."+f.Now] = f.Change
			}
		}
	}
	for name, want := range map[string]string{
		"shop.Order": "impossible shop.Bill;", "shop.Order.ID": "converted ID", "shop.Order.Customer": "removed  maybe Customers `pod:\"Customers,was=Customer\"`",
		"shop.Order.Total": "impossible Total", "shop.Order.Paid": "renamed settled", "shop.Order.Note": "removed ", "shop.Order.Tags": "",
		"shop.Order.Ref": "converted Ref", "shop.Order.By": "checked By", "shop.Order.Gone": "removed ", "shop.Order.Fresh": "added", "shop.Order.Level": "checked Level",
		"shop.Line": "checked shop.Line;", "shop.Line.Amount": "checked Amount", "shop.Level": "checked shop.Level;",
		"shop.Ship": `unknown  maybe shop.Shipped 0.7 db.Alias("shop.Ship") on the entry of shop.Shipped in Options.Types;`,
		"app.User":  "migrated app.User;",
		"app.City":  "added",
		"shop.Port": "renamed shop.Harbor;", "shop.Order.Port": "converted Port", "shop.Order.Ports": "",
		"github.com/poddb/poddb/db_test.brandNew": "added",
	} {
		if got[name] != want {
			t.Errorf("%s: %q, want %q", name, got[name], want)
		}
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	d = must(db.Open(ctx, path, &db.Options{Types: now}))(t)
	defer d.Close()
	_, err := db.Get[*orderV2](ctx, namespace(t, d), "o")
	if !errors.Is(err, db.ErrTypeMismatch) || !strings.Contains(err.Error(), ".Total") {
		t.Errorf("the report says impossible because of Total, a load: %v", err)
	}
	if _, err := db.CompareTypes(stored, []byte("{}")); !errors.Is(err, db.ErrInvalid) {
		t.Errorf("no description: %v", err)
	}
}

type (
	linksV1 struct {
		A, B, C, D, E lineV1
		F             db.Ref[lineV1]
		G             atomic.Pointer[lineV1]
		H             *lineV1
		I             []speaks
	}
	linksV2 struct {
		A *lineV2
		B db.Ref[lineV2]
		C atomic.Pointer[lineV2]
		D weak.Pointer[lineV2]
		E db.Ref[harborV2]
		F lineV2
		G lineV2
		H db.Ref[lineV2]
		I []lineV2
	}
)

type speaks interface{ speak() }

func (lineV1) speak() {}

// Values go behind Refs and atomic pointers like behind pointers, and the report says so.
func TestSchemaReportKnowsAllPointers(t *testing.T) {
	ctx := context.Background()
	d := must(db.OpenMemory(ctx, &db.Options{Types: db.Types(db.Type[linksV1]("Links"), db.Type[lineV1]("Line"))}))(t)
	defer d.Close()
	ns := namespace(t, d)
	set(t, ns, "x", &linksV1{I: []speaks{lineV1{}}})
	save(t, ns)
	desc := must(db.DescribeTypes(db.Types(db.Type[linksV2]("Links"), db.Type[lineV2]("Line"), db.Type[harborV2]("Harbor"))))(t)
	got := map[string]string{}
	for _, c := range must(db.CompareTypes(must(d.Schema(ctx))(t), desc))(t) {
		for _, f := range c.Fields {
			if c.Stored == "Links" {
				got[f.Stored] = f.Change
			}
		}
	}
	want := map[string]string{"A": "converted", "B": "converted", "C": "checked", "D": "impossible", "E": "unknown", "F": "converted", "G": "checked", "H": "checked", "I": "checked"}
	if !maps.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

type (
	saleV1 struct {
		ID       int
		Customer clientV1
	}
	clientV1 struct {
		Name, Email string
		Old         map[string]int
	}
	saleV2 struct {
		ID    int
		Buyer clientV2
	}
	clientV2 struct {
		Name, EMail string
		Old         map[string]int
	}
)

// A type that was renamed together with a field of it is found, and so is a field
// of such a type that was renamed itself.
func TestSchemaReportGuessesRenamesOfTypesAndTheirFields(t *testing.T) {
	ctx := context.Background()
	d := must(db.OpenMemory(ctx, &db.Options{Types: db.Types(db.Type[saleV1]("shop.Sale"), db.Type[clientV1]("shop.Customer"))}))(t)
	defer d.Close()
	ns := namespace(t, d)
	set(t, ns, "s", &saleV1{})
	save(t, ns)
	desc := must(db.DescribeTypes(db.Types(db.Type[saleV2]("shop.Sale"), db.Type[clientV2]("shop.Client"))))(t)
	changes := must(db.CompareTypes(must(d.Schema(ctx))(t), desc))(t)
	found := 0
	for _, c := range changes {
		if c.Stored == "shop.Customer" {
			found++
			if c.Change != "unknown" || c.Rename == nil || c.Rename.To != "shop.Client" || !strings.Contains(c.Why, "no type of that name") {
				t.Errorf("%+v", c)
			}
		}
		for _, f := range c.Fields {
			if f.Stored == "Customer" {
				found++
				if f.Rename == nil || f.Rename.Do != "`pod:\"Buyer,was=Customer\"`" {
					t.Errorf("%+v", f)
				}
			}
		}
	}
	if found != 2 {
		t.Errorf("%d of 2 in %+v", found, changes)
	}
}
