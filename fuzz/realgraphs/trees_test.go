package realgraphs

import (
	"container/heap"
	"container/list"
	"container/ring"
	"fmt"
	"reflect"
	"regexp/syntax"
	"strings"
	"testing"
	"text/template"
	"text/template/parse"

	"golang.org/x/net/html"

	"github.com/poddb/poddb/db"
)

func plain(*testing.T) *db.Options { return nil }

const page = `<!DOCTYPE html><html><head><title>A &amp; B</title><style>p{}</style></head><body class="x y" data-n=1>
<p>one<p>two <b>bold <i>both</b> italic</i><table><tr><td>cell<td>cell</table><!-- a comment -->
<svg viewBox="0 0 1 1"><path d="M0 0"/></svg><script>if (a < b) {}</script><template><li>in</template></body></html>`

// Pages render as they did, and their nodes know their neighbours.
func TestWebPagesRenderTheSame(t *testing.T) {
	type pages struct {
		Page *html.Node
		Body *html.Node
		Long *[]*html.Node
	}
	find := func(n *html.Node, name string) *html.Node {
		for d := range n.Descendants() {
			if d.Type == html.ElementNode && d.Data == name {
				return d
			}
		}
		return nil
	}
	survives(t, of(plain, func(t *testing.T) *pages {
		p := must(html.Parse(strings.NewReader(page)))(t)
		var long []*html.Node
		for i := range 20 {
			long = append(long, must(html.Parse(strings.NewReader(strings.Repeat(fmt.Sprintf("<div id=%d><ul><li>x<li>y</ul>", i), 50))))(t))
		}
		return &pages{p, find(p, "body"), &long}
	}, func(t *testing.T, v *pages, out *strings.Builder) {
		fmt.Fprintln(out, find(v.Page, "body") == v.Body, v.Body.Parent.Parent == v.Page)
		for _, p := range append([]*html.Node{v.Page}, *v.Long...) {
			if err := html.Render(out, p); err != nil {
				t.Fatal(err)
			}
			n := 0
			for d := range p.Descendants() {
				if d.Parent.FirstChild == d != (d.PrevSibling == nil) || d.NextSibling != nil && d.NextSibling.PrevSibling != d {
					t.Error("neighbours do not know each other")
				}
				n++
				fmt.Fprintln(out, d.Type, d.DataAtom, d.Namespace, d.Attr)
			}
			fmt.Fprintln(out, n)
		}
	}))
}

const templates = `{{define "row"}}<{{.}}>{{end}}{{/* comment */}}{{range $i, $x := .List}}{{if gt $x 1}}{{template "row" $x}}{{else if eq $x 1}}one{{else}}-{{continue}}{{end}}{{printf "%q %v" "text" $i | len}}{{end}}
{{with $y := .Name}}{{$y}} {{- .}}{{break_not}}{{end}}{{1.5}} {{0x10}} {{'c'}} {{1i}} {{true}} {{nil | isnil}} {{(index .List 0)}} {{.Sub.Name}}`

// Parse trees of templates say and do the same: they are executed.
func TestTemplatesExecuteTheSame(t *testing.T) {
	funcs := template.FuncMap{"break_not": func() string { return "!" }, "isnil": func(x any) bool { return x == nil }}
	type parsed struct {
		Trees map[string]*parse.Tree
		Root  *parse.ListNode
	}
	entries := []db.TypeEntry{db.AllowPackage("text/template/parse")}
	for _, x := range []any{parse.ActionNode{}, parse.BoolNode{}, parse.BranchNode{}, parse.BreakNode{}, parse.ChainNode{}, parse.CommandNode{},
		parse.CommentNode{}, parse.ContinueNode{}, parse.DotNode{}, parse.FieldNode{}, parse.IdentifierNode{}, parse.IfNode{}, parse.ListNode{}, parse.NilNode{}, parse.NumberNode{}, parse.PipeNode{},
		parse.RangeNode{}, parse.StringNode{}, parse.TemplateNode{}, parse.TextNode{}, parse.VariableNode{}, parse.WithNode{}} {
		entries = append(entries, db.TypeOf(reflect.TypeOf(x), ""))
	}
	options := func(*testing.T) *db.Options {
		return &db.Options{Types: db.Types(entries...), VerifyEvery: 1}
	}
	survives(t, of(options, func(t *testing.T) *parsed {
		x := template.Must(template.New("main").Funcs(funcs).Parse(strings.ReplaceAll(templates, "{{nil | isnil}}", "{{isnil .None}}")))
		v := &parsed{Trees: map[string]*parse.Tree{}}
		for _, x := range x.Templates() {
			v.Trees[x.Name()] = x.Tree
		}
		v.Root = v.Trees["main"].Root
		return v
	}, func(t *testing.T, v *parsed, out *strings.Builder) {
		x := template.New("main").Funcs(funcs)
		for name, tree := range map[string]*parse.Tree{"main": v.Trees["main"], "row": v.Trees["row"]} {
			x = template.Must(x.AddParseTree(name, tree))
		}
		x = x.Lookup("main")
		data := map[string]any{"List": []int{0, 1, 2, 3}, "Name": "n", "Sub": map[string]string{"Name": "sub"}, "None": nil}
		if err := x.Execute(out, data); err != nil {
			t.Fatal(err)
		}
		main := v.Trees["main"]
		fmt.Fprintln(out, main.Root == v.Root, main.Root, main.Copy().Root, v.Trees["row"].Root, main.ParseName, main.Mode)
		for _, n := range main.Root.Nodes {
			where, what := main.ErrorContext(n)
			fmt.Fprintln(out, n.Type(), n.Position(), where, what)
		}
	}))
}

// Regular expressions print, simplify and compile to the same programs.
func TestRegularExpressionsCompileToTheSame(t *testing.T) {
	type expressions struct {
		All      *[]*syntax.Regexp
		Programs map[string]*syntax.Prog
		Sub      *syntax.Regexp // inside of another
	}
	// Compiled programs share memory with the expressions that they come from.
	options := func(*testing.T) *db.Options {
		return &db.Options{Types: db.Types(db.Type[syntax.Regexp]("")), VerifyEvery: 1}
	}
	survives(t, of(options, func(t *testing.T) *expressions {
		v := &expressions{All: &[]*syntax.Regexp{}, Programs: map[string]*syntax.Prog{}}
		for _, s := range []string{`a*b+c?`, `(?i)(x|yz)*[^a-f0-9]{2,5}$`, `^(?P<name>\pL+)\s(?P<rest>.*)$`, `(a(b(c)))|(d|e)?`, strings.Repeat("(ab?)*", 100), `[[:alpha:]]+?\b\x{1F600}`} {
			re := must(syntax.Parse(s, syntax.Perl))(t)
			*v.All = append(*v.All, re)
			v.Programs[re.String()] = must(syntax.Compile(re.Simplify()))(t)
		}
		v.Sub = (*v.All)[3].Sub[0].Sub[0]
		return v
	}, func(t *testing.T, v *expressions, out *strings.Builder) {
		var walk func(re *syntax.Regexp)
		walk = func(re *syntax.Regexp) {
			inline := len(re.Sub) == 1 && &re.Sub[0] == &re.Sub0[0]
			fmt.Fprintln(out, re.Op, re.Flags, re.Min, re.Max, re.Cap, re.Name, len(re.Sub), cap(re.Sub), inline, len(re.Rune), cap(re.Rune), len(re.Rune) > 0 && &re.Rune[0] == &re.Rune0[0])
			for _, sub := range re.Sub {
				walk(sub)
			}
		}
		for _, re := range *v.All {
			fmt.Fprintln(out, re, re.Simplify(), re.MaxCap(), re.CapNames())
			walk(re)
			p := must(syntax.Compile(re.Simplify()))(t)
			fmt.Fprintln(out, p, p.NumCap, p.String() == v.Programs[re.String()].String())
		}
		fmt.Fprintln(out, v.Sub, (*v.All)[3].Sub[0].Sub[0] == v.Sub)
	}))
}

type task struct {
	Name  string
	Rank  int
	At    *list.Element // where it stands in the list
	Round *ring.Ring
}

type queue []*task

func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, j int) bool { return q[i].Rank < q[j].Rank }
func (q queue) Swap(i, j int)      { q[i], q[j] = q[j], q[i] }
func (q *queue) Push(x any)        { *q = append(*q, x.(*task)) }
func (q *queue) Pop() any {
	old := *q
	x := old[len(old)-1]
	*q = old[:len(old)-1]
	return x
}

// Lists, rings and heaps that hold each other go on working where they were.
func TestContainersThatHoldEachOtherWorkOn(t *testing.T) {
	type containers struct {
		List  *list.List
		Ring  *ring.Ring
		Queue *queue
	}
	options := func(*testing.T) *db.Options {
		return &db.Options{Types: db.Types(db.Type[task]("task")), VerifyEvery: 1}
	}
	survives(t, of(options, func(t *testing.T) *containers {
		v := &containers{list.New(), ring.New(7), &queue{}}
		for i := range 50 {
			x := &task{Name: fmt.Sprint("task ", i), Rank: i * 37 % 50, Round: v.Ring.Move(i)}
			x.At = v.List.PushBack(x)
			x.Round.Value = x
			heap.Push(v.Queue, x)
		}
		v.List.PushFront(v.Ring)
		v.List.PushFront(v.List)
		return v
	}, func(t *testing.T, v *containers, out *strings.Builder) {
		fmt.Fprintln(out, v.List.Len(), v.Ring.Len(), v.Queue.Len(), v.List.Front().Value == any(v.List), v.List.Front().Next().Value == any(v.Ring))
		q := append(queue(nil), *v.Queue...)
		for len(q) > 0 {
			x := heap.Pop(&q).(*task)
			fmt.Fprintln(out, x.Name, x.Rank, x.At.Value == any(x), x.Round.Value.(*task).Name)
		}
		v.List.MoveToBack(v.List.Front()) // a list that is another's would refuse its elements
		v.List.MoveToFront(v.List.Back())
		v.Ring.Do(func(x any) { fmt.Fprintln(out, x.(*task).Name) })
		for e := v.List.Back(); e != nil; e = e.Prev() {
			fmt.Fprintf(out, "%T ", e.Value)
		}
	}))
}
