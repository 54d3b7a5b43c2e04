package monitor

import (
	"embed"
	"io/fs"
	"net/http"
	"strings"
)

//go:embed assets
var files embed.FS

// assets serves the page's files.
func assets() http.Handler {
	page, err := fs.Sub(files, "assets")
	if err != nil {
		panic(err) // the name is not one
	}
	files := http.FileServerFS(page)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			refuse(w, http.StatusMethodNotAllowed, "the page is only read")
			return
		}
		if _, err := fs.Stat(page, strings.TrimPrefix(r.URL.Path, "/")); err != nil && r.URL.Path != "/" {
			refuse(w, http.StatusNotFound, "the monitor has no such file")
			return
		}
		files.ServeHTTP(w, r)
	})
}
