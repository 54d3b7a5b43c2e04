package httplimit

import (
	"net/http"

	"github.com/streamlimit/streamlimit/core/adapter"
)

// watch puts a writer below the writers of the handlers inside of the limit.
func watch(r *http.Request) adapter.Response {
	v := visitOf(r)
	w, sent := adapter.Watch(v.Context, v.writer)
	v.writer = w
	return sent
}
