package policyfile

import (
	"errors"
	"fmt"

	"github.com/goccy/go-yaml/ast"

	"github.com/streamlimit/streamlimit/core"
)

// policy returns the policy that the file describes under one name.
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

// change is the change of one policy by a file or a variable.
type change struct {
	*reader
	name  string
	known *core.Policy // nil for a new policy
	line  int          // 0 without a line

	options   []core.PolicyOption
	hasLimits bool
	hasWindow bool           // some of them are in a window
	slots     *core.Limit    // of a concurrency policy, with the hold as its window
	lines     map[string]int // of the settings
}

// wrong returns an error about the policy.
func (c *change) wrong(line int, format string, args ...any) error {
	return c.at(line, "%s: %s", c.name, fmt.Sprintf(format, args...))
}

// limits sets one limit, or a list of limits. If p has neither, the error is advice.
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
		c.hasLimits, c.hasWindow = true, true
	}
	if !c.hasLimits {
		return c.noLimit(p.line)
	}
	return nil
}

// parseLimit reads a limit. Its error begins with the text.
func parseLimit(text string) (core.Limit, error) {
	text = clip(text)
	l, err := core.ParseLimit(text)
	if err != nil {
		return l, fmt.Errorf("%q: %w", text, errors.Unwrap(err))
	}
	return l, nil
}

func (c *change) noLimit(line int) error {
	return c.at(line, "policy %q has no limit: add one, such as 100/minute", c.name)
}

// policy returns the changed policy.
func (c *change) policy() (p *core.Policy, err error) {
	if err := c.mixed(); err != nil {
		return nil, err
	}
	switch {
	case c.known != nil && c.slots != nil:
		p, err = c.known.With(append(c.options, *c.slots)...)
	case c.known != nil:
		p, err = c.known.With(c.options...)
	case !c.hasLimits:
		return nil, c.noLimit(c.line)
	case c.slots != nil:
		p, err = core.ParseConcurrency(c.name, c.slots.Max, c.slots.Window, c.options...)
	default:
		p, err = core.ParsePolicy(c.name, nil, c.options...)
	}
	if err != nil {
		return nil, c.translate(err)
	}
	return p, nil
}

// settingOf maps an option of core to the setting in the file.
var settingOf = map[string]string{"FieldName": "header", "Unit": "unit", "Refundable": "refund", "Coarse": "slices", "Lease": "lease", "VariableCost": "cost"}

// translate rewrites an error of core in the words of the file.
func (c *change) translate(err error) error {
	var wrong *core.PolicyError
	if !errors.As(err, &wrong) || wrong.Option == "" {
		return c.at(c.line, "%s", within(err))
	}
	setting := settingOf[wrong.Option]
	line, ok := c.lines[setting]
	if !ok { // the setting comes from the program
		line = c.line
	}
	return c.wrong(line, "%s: %v", setting, wrong.Err)
}

// within returns the cause of a policy error, without the advice for programs.
func within(err error) error {
	var wrong *core.PolicyError
	if errors.As(err, &wrong) {
		return wrong.Err
	}
	return err
}

// scalar returns the text of a node that can be a limit or a name.
func scalar(n ast.Node) (string, bool) {
	switch n.Type() {
	case ast.StringType, ast.IntegerType, ast.FloatType:
		return written(n), true
	}
	return "", false
}

// quoted returns the text of a scalar node in quotes, to begin advice. For other nodes it
// returns "".
func quoted(n ast.Node) string {
	if _, ok := scalar(n); !ok && n.Type() != ast.BoolType {
		return ""
	}
	return fmt.Sprintf("%q: ", clip(written(n)))
}

// unread returns the end of advice on a node of a kind that is not supported.
func unread(n ast.Node) string {
	switch n.Type() {
	case ast.AnchorType, ast.AliasType, ast.TagType:
		return "; anchors, aliases and tags are not read"
	}
	return ""
}
