package monitor

import (
	"embed"
	"net/http"
	"path"
)

//go:embed assets
var files embed.FS

// mediaTypes are the types of the page's files. They do not depend on the machine's own
// list.
var mediaTypes = map[string]string{
	".html": "text/html; charset=utf-8",
	".css":  "text/css; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
}

// asset serves the page's files. Unlike [http.FileServer] it never redirects, and
// leaves Cache-Control as it is in every response.
func asset(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		refuse(w, http.StatusMethodNotAllowed, "use GET for the page")
		return
	}
	name := r.URL.Path
	if name == "/" {
		name = "/index.html"
	}
	data, err := files.ReadFile("assets" + name)
	if err != nil {
		refuse(w, http.StatusNotFound, "the monitor has no such file")
		return
	}
	w.Header().Set("Content-Type", mediaTypes[path.Ext(name)])
	_, _ = w.Write(data) //nolint:gosec // an embedded file
}
