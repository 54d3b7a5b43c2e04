package policyfile

import (
	"fmt"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"github.com/streamlimit/streamlimit/core"
)

// policy is what the file makes of one name.
func (r *reader) policy(p pair) (*core.Policy, error) {
	known, err := r.find(p)
	if err != nil {
		return nil, err
	}
	c := change{reader: r, name: p.key, known: known, line: p.line}
	if settings, ok := p.value.(*ast.MappingNode); ok {
		err = c.settings(settings)
	} else {
		err = c.limits(p, "write a limit such as 100/minute, a list of them, or settings: "+settingNames)
	}
	if err != nil {
		return nil, err
	}
	return c.policy()
}

// change is what a file or a variable says of one policy.
type change struct {
	*reader
	name  string
	known *core.Policy // nil for a new one
	line  int          // 0 for none

	options   []core.PolicyOption
	hasLimits bool
	lines     map[string]int // of the settings
}

// wrong is an error about the policy.
func (c *change) wrong(line int, format string, args ...any) error {
	return c.at(line, "%s: %s", c.name, fmt.Sprintf(format, args...))
}

// limits takes over one limit, or a list of them. Advice is what to write where
// there is neither.
func (c *change) limits(p pair, advice string) error {
	nodes := []ast.Node{p.value}
	if list, ok := p.value.(*ast.SequenceNode); ok {
		nodes = list.Values
	}
	for _, n := range nodes {
		text, ok := scalar(n)
		if !ok {
			return c.wrong(p.line, "%s%s", advice, unread(n))
		}
		l, err := parseLimit(text)
		if err != nil {
			return c.wrong(line(n), "%v", err)
		}
		c.options = append(c.options, l)
		c.hasLimits = true
	}
	if !c.hasLimits {
		return c.noLimit(p.line)
	}
	return nil
}

// parseLimit reads a limit; its error begins with the text.
func parseLimit(text string) (core.Limit, error) {
	l, err := core.ParseLimit(clip(text))
	if err != nil {
		return l, fmt.Errorf("%s", strings.TrimPrefix(err.Error(), "core: limit "))
	}
	return l, nil
}

func (c *change) noLimit(line int) error {
	return c.at(line, "policy %q has no limit: add one, such as 100/minute", c.name)
}

// policy makes the policy.
func (c *change) policy() (p *core.Policy, err error) {
	switch {
	case c.known != nil:
		p, err = c.known.With(c.options...)
	case !c.hasLimits:
		return nil, c.noLimit(c.line)
	default:
		p, err = core.ParsePolicy(c.name, nil, c.options...)
	}
	if err != nil {
		return nil, c.translate(err)
	}
	return p, nil
}

// translate says what core does not accept in the words of the file.
func (c *change) translate(err error) error {
	text := strings.TrimPrefix(err.Error(), "core: ")
	about, ok := strings.CutPrefix(text, fmt.Sprintf("policy %q: ", c.name))
	if !ok {
		return c.at(c.line, "%s", text)
	}
	option, what, _ := strings.Cut(about, ": ")
	var setting string
	switch option {
	case "FieldName":
		setting, what = "header", strings.TrimPrefix(what, "policy ")
	case "Refundable":
		setting = "refund"
	case "Slices":
		setting, what = "slices", strings.NewReplacer("Slices", "slices", "Refundable", "refund").Replace(what)
	default:
		return c.wrong(c.line, "%s", about)
	}
	line, ok := c.lines[setting]
	if !ok { // it is the program's
		line = c.line
	}
	return c.wrong(line, "%s: %s", setting, what)
}

// scalar is the text of a node that a limit or a name can be.
func scalar(n ast.Node) (string, bool) {
	switch n.Type() {
	case ast.StringType, ast.IntegerType, ast.FloatType:
		return written(n), true
	}
	return "", false
}

// quoted begins advice on a node with its text, if it is a scalar.
func quoted(n ast.Node) string {
	if _, ok := scalar(n); !ok && n.Type() != ast.BoolType {
		return ""
	}
	return fmt.Sprintf("%q: ", clip(written(n)))
}

// unread completes advice on a node of a kind that is not read.
func unread(n ast.Node) string {
	switch n.Type() {
	case ast.AnchorType, ast.AliasType, ast.TagType:
		return "; anchors, aliases and tags are not read"
	}
	return ""
}
