package lint

import (
	"go/ast"
	"regexp"
)

// harmless are the names of the packages of the operating system that touch no
// file: what the process is, what errors and flags are called.
var harmless = map[string]*regexp.Regexp{
	"os": regexp.MustCompile(`^(Args|Exit|Getenv|LookupEnv|Environ|Getpid|Getpagesize|Hostname|Std(in|out|err)|Signal|Interrupt|Kill|` +
		`Err[A-Z]\w*|Is(Not)?Exist|IsPermission|IsTimeout|PathError|LinkError|SyscallError|File(Mode|Info)|Mode\w+|DirEntry|O_\w+|DevNull|PathSeparator)$`),
	"syscall":               regexp.MustCompile(`^(E[A-Z0-9]+|Errno|SIG[A-Z]+|Signal)$`),
	"golang.org/x/sys/unix": regexp.MustCompile(`^(E[A-Z0-9]+|Errno)$`),
	"io/ioutil":             regexp.MustCompile(`^Discard$`),
	"path/filepath":         regexp.MustCompile(`^(Base|Clean|Dir|Ext|FromSlash|IsAbs|IsLocal|Join|Match|Rel|Split|SplitList|ToSlash|VolumeName|Separator|SkipDir)$`),
	"golang.org/x/exp/mmap": regexp.MustCompile(`^$`),
}

// Files finds uses of the operating system's files outside internal/vfs, and of its
// memory outside internal/offheap, which has no file. Tests,
// tools, campaigns and examples may use them.
func Files(t *Tree) []Finding {
	var found []Finding
	for _, f := range t.Files {
		if !f.library() || layerOf(f.Dir) == "internal/vfs" || layerOf(f.Dir) == "internal/offheap" {
			continue
		}
		for p, ok := range harmless {
			f.selectors(p, func(sel *ast.SelectorExpr, _ bool) {
				if !ok.MatchString(sel.Sel.Name) {
					found = append(found, t.at(f, sel, "%s.%s: files are touched through internal/vfs", p, sel.Sel.Name))
				}
			})
		}
	}
	return sorted(found)
}
