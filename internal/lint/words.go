package lint

import (
	"regexp"
	"strings"
)

// unfinished are the words of work that is not done, tests that do not run, and
// places that exist on one machine only. They are put together here so that
// this file passes its own rule.
var unfinished = regexp.MustCompile(strings.Join([]string{
	`\bTO` + `DO\b`, `\bFIX` + `ME\b`, `\bXX` + `X\b`, `\bHA` + `CK\b`,
	`(?i:\bfor ` + `now\b)`, `(?i:\bnot ` + `(yet )?implemented\b)`, `(?i:\bplace` + `holder\b)`,
	`\.Skip` + `(f|Now)?\(`,
	`/wo` + `rk/`, `/tmp` + `/pd\b`, `\bissues ` + `show\b`,
}, "|"))

// Words finds unfinished words in every text file of the tree.
func Words(t *Tree) []Finding {
	var found []Finding
	for _, text := range t.Texts {
		for i, line := range strings.Split(text.Source, "\n") {
			if w := unfinished.FindString(line); w != "" {
				found = append(found, Finding{text.Path, i + 1, "holds " + `"` + w + `"`})
			}
		}
	}
	return sorted(found)
}
