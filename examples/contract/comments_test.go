package contract

import (
	"cmp"
	"go/ast"
	"go/doc"
	"go/parser"
	"go/token"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// adapters are the adapters' folders, each with its own words for what all have in
// common.
var adapters = []struct {
	dir   string
	words *strings.Replacer
}{
	{"ginlimit", strings.NewReplacer("ginlimit", "<adapter>", "Gin", "<framework>", "ClientIP", "<address>",
		"are aborted and answered", "are answered", "the router again with HandleContext", "<again>",
		"echolimit, fiberlimit and core/httplimit", "<others>", "Echo, Fiber and net/http", "<others>")},
	{"echolimit", echo},
	{"echolimit/v5", echo},
	{"fiberlimit", fiber},
	{"fiberlimit/v3", fiber},
	{"core/httplimit", strings.NewReplacer("httplimit", "<adapter>", "Every handler that it wraps", "Every route behind it",
		"the mux again", "<again>", "ginlimit, echolimit and fiberlimit", "<others>", "Gin, Echo and Fiber", "<others>", "net/http", "<framework>")},
}

var echo = strings.NewReplacer("echolimit", "<adapter>", "Echo's ServeHTTP again", "<again>", "Echo v5", "<framework>", "Echo", "<framework>",
	"RealIP", "<address>", "HTTPErrorHandler", "<errors>", "own Logger", "<logger>", "own RequestLogger", "<logger>",
	"ginlimit, fiberlimit and core/httplimit", "<others>", "Gin, Fiber and net/http", "<others>")

var fiber = strings.NewReplacer("fiberlimit", "<adapter>", "Fiber v3", "<framework>", "Fiber", "<framework>",
	"IP is not used", "<address> is not used", "WithErrorHandler", "WithErrorHandler", "ErrorHandler", "<errors>", "own logger", "<logger>",
	"such as after RestartRouting", "such as when a handler passes it to <again>",
	"ginlimit, echolimit and core/httplimit", "<others>", "Gin, Echo and net/http", "<others>")

// reasons are words of sentences that not all adapters have. majors are words of
// sentences that an adapter has for only one major version of its framework.
var reasons = []struct{ words, why string }{
	{"<address>", "net/http has no idea of a client's address"},
	{"Package <adapter> is", "net/http has no groups"},
	{"Middleware that", "middleware of net/http wraps, the others' is added"},
	{"<framework> does not reuse its memory", "of Fiber"},
	{"need not be copied", "Fiber's strings are memory that it uses again"},
	{"A request from outside of a limit", "the decision is in the request's context in net/http"},
	{"must be the handler's own", "as the one before"},
	{"The context of r", "the decision is in the request's context in net/http"},
	{"Let middleware outside of the limit", "as the one before"},
	{"may settle by itself", "as the one before, in net/http"},
	{"let the handler settle by itself", "as the one before, in net/http"},
	{"counted as one", "Fiber has no request that can be cloned"},
	{"An error goes to", "Echo and Fiber handle errors"},
	{"The context is aborted afterwards", "in Gin"},
	{"WithFrameworkErrors", "net/http handles no errors"},
	{"An error that the handler returns", "handlers of Gin and net/http return none"},
	{"500 for", "handlers of net/http write nothing, those of Gin leave errors, and Fiber answers at the end"},
	{"without effect on refund", "what answers errors"},
	{"For any other stream", "Fiber writes streams after the handler"},
	{"The body of a stream is written after the handler", "Fiber"},
	{"StreamWriter", "Fiber"},
	{"calls this Next", "Fiber"},
	{"Inside of the limit", "Fiber's own cache"},
	{"that reads the body", "Fiber has read it"},
	{"may read the body", "Fiber has read it"},
	{"Limit the size of the body first", "what each framework has for that; Fiber always limits it"},
	{"httptest", "Fiber has app.Test"},
	{"http.NewRequest", "Fiber has app.Test"},
	{"app.Test", "Fiber"},
	{"Two tests", "of app.Test have one address"},
	{"[Transport]", "no framework has a client"},
	{"# Prefork", "Fiber"},
	{"8 children", "of Prefork"},
	{"Share the limits in Redis instead", "of Prefork"},
}

var majors = []struct{ words, why string }{
	{"The functions of a key", "errors of a framework's own have a status in them, in Echo 5 all that have a StatusCode"},
	{"An error about a malformed body", "a framework's own errors of binding, of which Fiber 2 has none, and those of Echo 5 have a status"},
	{"An [http.MaxBytesError]", "as the one before"},
	{"Fields that a handler removes", "Fiber's proxies replace the response, and so does the timeout of Fiber 3"},
	{"Outside they answer", "the cache of Fiber 2 keeps what says no-store"},
	{"If a cache must be outside", "as the one before"},
	{"RequestBodyStream", "in Fiber 3 Context is another method"},
	{"c.Params panics", "a copy of a request in Fiber 3 has a route without parameters"},
	{"refork each child", "in Fiber 3 the option is called EnablePrefork"},
}

// TestAdaptersSayTheSame compares the comments of the adapters, sentence by sentence. A
// sentence that some adapters lack must have a reason in the framework.
func TestAdaptersSayTheSame(t *testing.T) {
	type said struct{ name, sentence string }
	by := map[said][]string{}
	for _, a := range adapters {
		for name, sentences := range comments(t, filepath.Join("../..", a.dir)) {
			for _, s := range sentences {
				by[said{name, a.words.Replace(s)}] = append(by[said{name, a.words.Replace(s)}], a.dir)
			}
		}
	}
	needed := map[string]bool{}
	for _, s := range slices.SortedFunc(maps.Keys(by), func(a, b said) int {
		return cmp.Or(cmp.Compare(a.name, b.name), cmp.Compare(a.sentence, b.sentence))
	}) {
		if len(by[s]) == len(adapters) {
			continue
		}
		says := func(dir string) bool { return slices.Contains(by[s], dir) }
		good := majors
		if says("echolimit") == says("echolimit/v5") && says("fiberlimit") == says("fiberlimit/v3") {
			good = append(slices.Clip(reasons), majors...)
		}
		why := ""
		for _, r := range good {
			if strings.Contains(s.name+": "+s.sentence, r.words) {
				why, needed[r.words] = r.why, true
			}
		}
		if why == "" {
			t.Errorf("%s, only in %s: %s", s.name, strings.Join(by[s], ", "), s.sentence)
		} else {
			t.Logf("%s, only in %s: %s (%s)", s.name, strings.Join(by[s], ", "), s.sentence, why)
		}
	}
	for _, r := range append(slices.Clip(reasons), majors...) {
		if !needed[r.words] {
			t.Errorf("no sentence has the words %q", r.words)
		}
	}
}

// comments returns the sentences about a package and its exported names, by name, without
// code.
func comments(t *testing.T, dir string) map[string][]string {
	t.Helper()
	set := token.NewFileSet()
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	var parsed []*ast.File
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") || filepath.Base(name) == "transport.go" { // of clients
			continue
		}
		file, err := parser.ParseFile(set, name, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		parsed = append(parsed, file)
	}
	p, err := doc.NewFromFiles(set, parsed, dir)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string][]string{"package": sentences(p.Doc)}
	funcs := p.Funcs
	for _, of := range p.Types {
		all[of.Name] = sentences(of.Doc)
		funcs = append(funcs, of.Funcs...)
	}
	for _, f := range funcs {
		all[f.Name] = sentences(f.Doc)
	}
	if len(all) < 20 {
		t.Fatalf("%d comments in %s", len(all), dir)
	}
	return all
}

func sentences(text string) (all []string) {
	for paragraph := range strings.SplitSeq(text, "\n\n") {
		if strings.HasPrefix(paragraph, "\t") {
			continue
		}
		for s := range strings.SplitSeq(strings.Join(strings.Fields(paragraph), " "), ". ") {
			all = append(all, strings.TrimSuffix(s, "."))
		}
	}
	return all
}
