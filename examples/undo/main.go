// Command undo is a tiny editor session: it changes a document, saves after
// each change, lists the history and goes back in time, in place.
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"strings"

	"github.com/poddb/poddb/db"
)

// document is an ordinary Go type; sections refer to each other.
type document struct {
	Title    string
	Sections []*section
	cursor   *section // unexported fields are kept too
}

type section struct {
	Heading string
	Text    string
	SeeAlso *section
}

func main() {
	dir, err := os.MkdirTemp("", "undo")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := session(context.Background(), filepath.Join(dir, "doc.pod")); err != nil {
		log.Fatal(err)
	}
}

func session(ctx context.Context, path string) error {
	d, err := db.Open(ctx, path, nil)
	if err != nil {
		return err
	}
	defer d.Close()
	ns, err := d.Namespace(ctx, "main")
	if err != nil {
		return err
	}
	intro := &section{Heading: "Introduction", Text: "Hello."}
	end := &section{Heading: "End", SeeAlso: intro}
	doc := &document{Title: "Draft", Sections: []*section{intro, end}, cursor: intro}
	if err := ns.Set(ctx, "doc", doc); err != nil {
		return err
	}
	edits := []struct {
		message string
		edit    func()
	}{
		{"first draft", func() {}},
		{"a better title", func() { doc.Title = "Report" }},
		{"drop the end", func() { doc.Sections = doc.Sections[:1] }},
	}
	var first db.Version
	for i, e := range edits {
		e.edit()
		v, err := ns.Save(ctx, db.SaveOptions{Message: e.message})
		if err != nil {
			return err
		}
		if i == 0 {
			first = v
		}
	}
	for c, err := range d.Log(ctx, db.LogOptions{}) {
		if err != nil {
			return err
		}
		fmt.Printf("version %d: %s (%d pods, %d bytes)\n", c.Version, c.Message, c.Pods, c.Bytes)
	}
	// Back to the first version: doc, intro and end keep their addresses.
	if err := ns.Checkout(ctx, first); err != nil {
		return err
	}
	var headings []string
	for _, s := range doc.Sections {
		headings = append(headings, s.Heading)
	}
	fmt.Printf("after checkout: %q with %s; see also the same introduction: %t\n",
		doc.Title, strings.Join(headings, ", "), doc.Sections[1].SeeAlso == intro)
	return nil
}
