package policyfile

import (
	"bytes"
	"errors"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
)

// maxTokens bounds the tokens of YAML in a file. It is enough for 5,000 policies. The
// parser's time grows with the square of the tokens, and its stack with nested brackets.
// 20,000 tokens take up to half a second, while a megabyte of brackets takes minutes.
const maxTokens = 20_000

const example = "policies: {stocks: 500/minute}"

// pair is a key of a mapping with its value.
type pair struct {
	key   string
	line  int // line of the key
	value ast.Node
}

// policyPairs returns the names in text with their values.
func (r *reader) policyPairs(text []byte) ([]pair, error) {
	top, err := r.document(text)
	if err != nil {
		return nil, err
	}
	settings, err := r.pairs(top, "")
	if err != nil {
		return nil, err
	}
	if len(settings) == 0 {
		return nil, r.at(1, "write %s", example)
	}
	for _, s := range settings {
		if s.key != "policies" {
			return nil, r.at(s.line, "unknown setting %q: the only one is policies", clip(s.key))
		}
	}
	policies, ok := settings[0].value.(*ast.MappingNode)
	if !ok {
		return nil, r.at(line(settings[0].value), "policies: write names with their limits, such as stocks: 500/minute")
	}
	return r.pairs(policies, "")
}

// pairs returns the pairs of a mapping. A key that is set twice is an error. Errors begin
// with prefix.
func (r *reader) pairs(mapping *ast.MappingNode, prefix string) ([]pair, error) {
	pairs := make([]pair, 0, len(mapping.Values))
	first := make(map[string]int, len(mapping.Values))
	for _, v := range mapping.Values {
		p := pair{key: written(v.Key), line: line(v.Key), value: v.Value}
		if at, twice := first[p.key]; twice {
			return nil, r.at(p.line, "%s%q is set twice, first in line %d: keep one", prefix, clip(p.key), at)
		}
		first[p.key] = p.line
		pairs = append(pairs, p)
	}
	return pairs, nil
}

// document returns the one mapping in text.
func (r *reader) document(text []byte) (*ast.MappingNode, error) {
	if len(text) > MaxSize {
		return nil, r.at(1, "larger than 1 MiB: write fewer policies")
	}
	text = bytes.TrimPrefix(text, []byte("\ufeff")) // some editors write a byte order mark
	text = unixLines(text)
	if i := bytes.IndexFunc(text, notText); i >= 0 {
		return nil, r.at(1+bytes.Count(text[:i], []byte("\n")), "byte 0x%02x is not text: write YAML in UTF-8", text[i])
	}
	file, err := r.parse(string(text))
	if err != nil {
		return nil, err
	}
	if len(file.Docs) != 1 {
		return nil, r.at(1, "%d YAML documents: write one", len(file.Docs))
	}
	top, ok := file.Docs[0].Body.(*ast.MappingNode)
	if !ok {
		return nil, r.at(1, "write %s", example)
	}
	return top, nil
}

// unixLines returns text with Unix line endings. The parser counts others twice after a
// comment.
func unixLines(text []byte) []byte {
	text = bytes.ReplaceAll(text, []byte("\r\n"), []byte("\n"))
	return bytes.ReplaceAll(text, []byte("\r"), []byte("\n"))
}

func notText(c rune) bool {
	return c == utf8.RuneError || unicode.IsControl(c) && c != '\n' && c != '\t'
}

func (r *reader) parse(text string) (file *ast.File, err error) {
	// A panic of the parser must not end a service that reads a file again.
	defer func() {
		if recover() != nil {
			err = r.at(1, "not valid YAML: write %s", example)
		}
	}()
	tokens := lexer.Tokenize(text)
	if len(tokens) > maxTokens {
		return nil, r.at(tokens[maxTokens].Position.Line, "more than %d tokens of YAML up to here: write fewer policies", maxTokens)
	}
	file, err = parser.Parse(tokens, 0, parser.AllowDuplicateMapKey()) // pairs finds them
	var located yaml.Error
	switch {
	case err == nil:
		return file, nil
	case errors.As(err, &located) && located.GetToken() != nil:
		return nil, r.at(located.GetToken().Position.Line, "%s", clip(advice(located.GetMessage())))
	}
	return nil, r.at(1, "%s", clip(err.Error()))
}

// advice returns a message of the parser, or a clearer one.
func advice(message string) string {
	if strings.HasPrefix(message, "tab character") || strings.HasPrefix(message, "found character '\t'") {
		return "a tab: indent with spaces"
	}
	return message
}

// written returns a scalar as it stands in the file, without quotes.
func written(n ast.Node) string { return n.GetToken().Value }

// line returns the line where a node starts.
func line(n ast.Node) int { return n.GetToken().Position.Line }
