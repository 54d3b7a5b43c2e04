package memory

// expiryQueue is a list of logs of one window by the time of their newest entry. Its
// front expires first.
type expiryQueue struct{ front, back *keyLog }

func (q *expiryQueue) pushBack(l *keyLog) {
	l.prev, l.next = q.back, nil
	if q.back != nil {
		q.back.next = l
	} else {
		q.front = l
	}
	q.back = l
}

func (q *expiryQueue) remove(l *keyLog) {
	if l.prev != nil {
		l.prev.next = l.next
	} else {
		q.front = l.next
	}
	if l.next != nil {
		l.next.prev = l.prev
	} else {
		q.back = l.prev
	}
	l.prev, l.next = nil, nil
}

func (q *expiryQueue) moveToBack(l *keyLog) {
	if q.back != l {
		q.remove(l)
		q.pushBack(l)
	}
}
