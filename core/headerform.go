package core

import "github.com/streamlimit/streamlimit/core/internal/field"

// HeaderForm is a set of response fields that report limits to clients.
type HeaderForm byte

const (
	// HeadersIETF are RateLimit-Policy and RateLimit as in revision 11 of
	// draft-ietf-httpapi-ratelimit-headers.
	HeadersIETF HeaderForm = iota
	// HeadersX are X-RateLimit-Limit, -Remaining and -Reset. Reset counts
	// seconds from now.
	HeadersX
	// HeadersDraft06 are RateLimit-Limit, -Remaining and -Reset as in
	// revisions 00 to 06 of the same draft.
	HeadersDraft06
)

// Fields returns what the response fields say of the policy. It is for package adapter.
func (p *Policy) Fields() *field.Policy { return &p.fields }

// buildFields prepares all of the fields that does not change. The first limit goes by
// the policy's field name, the others by the name and their window.
func (p *Policy) buildFields() {
	items := make([]field.Item, len(p.limits))
	for i, l := range p.limits {
		name := p.fieldName
		if i > 0 {
			name += "-" + windowText(l.Window)
		}
		items[i] = field.NewItem(name, l.Max, l.Window)
	}
	p.fields = field.NewPolicy(items)
}
