package service

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"

	"github.com/streamlimit/streamlimit/core"
)

// readFile replaces policies by those in a YAML file:
//
//	policies:
//	  stocks: 500/minute
//	  search: [20/second, 200/minute]
//
// Everything in it must have a meaning: a misspelt name that is passed over
// would leave a service with limits that nobody asked for. Errors say where:
//
//	policies.yaml:7: search: "20/fortnight": unknown unit, use s, m, h, d or a Go duration
func (p *Policies) readFile(path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return p.parse(path, text)
}

func (p *Policies) parse(path string, text []byte) error {
	at := func(line int, format string, args ...any) error {
		return fmt.Errorf("%s:%d: %w", path, line, fmt.Errorf(format, args...))
	}
	file, err := parser.ParseBytes(text, 0)
	if err != nil {
		var located yaml.Error
		if errors.As(err, &located) && located.GetToken() != nil {
			return at(located.GetToken().Position.Line, "%s", located.GetMessage())
		}
		return fmt.Errorf("%s: %w", path, err)
	}
	if len(file.Docs) != 1 {
		return at(1, "%d YAML documents: write one", len(file.Docs))
	}
	top, ok := file.Docs[0].Body.(*ast.MappingNode)
	if !ok {
		return at(1, "write policies: {stocks: 500/minute}")
	}
	for _, entry := range top.Values {
		if name := written(entry.Key); name != "policies" {
			return at(line(entry), "unknown setting %q: the only one is policies", name)
		}
		policies, ok := entry.Value.(*ast.MappingNode)
		if !ok {
			return at(line(entry), "policies: write names with their limits, such as stocks: 500/minute")
		}
		for _, entry := range policies.Values {
			if err := p.replace(entry, at); err != nil {
				return err
			}
		}
	}
	return nil
}

// replace puts the policy of one line of the file in place of the built-in one.
func (p *Policies) replace(entry *ast.MappingValueNode, at func(int, string, ...any) error) error {
	name := written(entry.Key)
	place := p.named(name)
	if place == nil {
		return at(line(entry), "unknown policy %q: there are %s", name, strings.Join(p.names(), ", "))
	}
	nodes := []ast.Node{entry.Value}
	if list, ok := entry.Value.(*ast.SequenceNode); ok {
		nodes = list.Values
	}
	var options []string
	for _, node := range nodes {
		switch node.Type() {
		case ast.StringType, ast.IntegerType, ast.FloatType:
		default:
			return at(line(entry), "%s: write a limit such as 100/minute, or a list of them", name)
		}
		text := written(node)
		if _, err := core.ParseLimit(text); err != nil {
			return at(line(node), "%s: %s", name, strings.TrimPrefix(err.Error(), "core: limit "))
		}
		options = append(options, text)
	}
	var costs []core.PolicyOption
	if (*place).VariableCost() {
		costs = append(costs, core.VariableCost())
	}
	policy, err := core.ParsePolicy(name, options, costs...)
	if err != nil {
		return at(line(entry), "%s", strings.TrimPrefix(err.Error(), "core: "))
	}
	*place = policy
	return nil
}

func (p *Policies) named(name string) **core.Policy {
	for _, place := range p.all() {
		if (*place).Name() == name {
			return place
		}
	}
	return nil
}

func (p *Policies) names() []string {
	var names []string
	for _, place := range p.all() {
		names = append(names, (*place).Name())
	}
	return names
}

// written is a scalar as it is written in the file, without quotes.
func written(n ast.Node) string { return n.GetToken().Value }

// line is where a node starts; an entry's own token is its colon.
func line(n ast.Node) int {
	if entry, ok := n.(*ast.MappingValueNode); ok {
		n = entry.Key
	}
	return n.GetToken().Position.Line
}
