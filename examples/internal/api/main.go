// Command api lists what is exported to users of this repository's modules, one line each, and
// counts it. CI compares the list with api.txt, so that no change of it goes unseen.
//
// Commands, examples, benchmarks and internal packages export nothing, and the suites and redistest
// are outside of the promise that the list stands for.
package main

import (
	"bytes"
	"fmt"
	"go/importer"
	"go/token"
	"go/types"
	"io"
	"iter"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
)

const root = "github.com/streamlimit/streamlimit/"

var unpromised = regexp.MustCompile(`/internal/|^` + root + `(examples|core/(benchmarks|storetest|adaptertest|redistest))(/|$)`)

func main() {
	if err := list(os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "api:", err)
		os.Exit(1)
	}
}

// list writes the exported names of every package that users import.
func list(w io.Writer) error {
	paths, exports, err := compile()
	if err != nil {
		return err
	}
	open := func(path string) (io.ReadCloser, error) { return os.Open(exports[path]) }
	packages := importer.ForCompiler(token.NewFileSet(), "gc", open)
	for _, path := range paths {
		pkg, err := packages.Import(path)
		if err != nil {
			return fmt.Errorf("import %s: %w", path, err)
		}
		lines, count := describe(pkg)
		fmt.Fprintf(w, "package %s: %d names\n%s\n", strings.TrimPrefix(path, root), count, strings.Join(lines, ""))
	}
	return nil
}

// compile returns the packages that users import, and the export data of these and all that they import.
func compile() (paths []string, exports map[string]string, err error) {
	command := exec.Command("go", "list", "-deps", "-export", "-f", "{{.ImportPath}} {{.Name}} {{.Export}}", "work")
	command.Stderr = os.Stderr
	out, err := command.Output()
	if err != nil {
		return nil, nil, fmt.Errorf("go list: %w", err)
	}
	exports = map[string]string{}
	for line := range bytes.Lines(out) {
		fields := strings.Fields(string(line))
		if len(fields) < 3 { // unsafe has no export data
			continue
		}
		path, name := fields[0], fields[1]
		exports[path] = fields[2]
		if strings.HasPrefix(path, root) && name != "main" && !unpromised.MatchString(path) {
			paths = append(paths, path)
		}
	}
	slices.Sort(paths)
	return paths, exports, nil
}

// describe returns the lines of a package, and the number of its exported names with the methods.
// Fields are listed, and not counted.
func describe(pkg *types.Package) (lines []string, count int) {
	write := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format+"\n", args...)) }
	qualify := func(p *types.Package) string {
		if p == pkg {
			return ""
		}
		return strings.TrimPrefix(p.Path(), root)
	}
	scope := pkg.Scope()
	for _, name := range scope.Names() {
		object := scope.Lookup(name)
		if !object.Exported() {
			continue
		}
		count++
		typeName, ok := object.(*types.TypeName)
		if !ok || typeName.IsAlias() {
			write("%s", types.ObjectString(object, qualify))
			continue
		}
		switch underlying := object.Type().Underlying().(type) {
		case *types.Struct:
			write("type %s struct", types.TypeString(object.Type(), qualify))
			for field := range underlying.Fields() {
				if field.Exported() {
					write("\t%s %s", field.Name(), types.TypeString(field.Type(), qualify))
				}
			}
		case *types.Interface:
			write("type %s interface", types.TypeString(object.Type(), qualify))
		default:
			write("%s", types.ObjectString(object, qualify))
		}
		for method := range methods(object.Type()) {
			count++
			write("\t%s", types.ObjectString(method, qualify))
		}
	}
	return lines, count
}

// methods yields the exported methods of a type and of its pointer, promoted ones too.
func methods(t types.Type) iter.Seq[types.Object] {
	return func(yield func(types.Object) bool) {
		if !types.IsInterface(t) {
			t = types.NewPointer(t)
		}
		for selection := range types.NewMethodSet(t).Methods() {
			if selection.Obj().Exported() && !yield(selection.Obj()) {
				return
			}
		}
	}
}
