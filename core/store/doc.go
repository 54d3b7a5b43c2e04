// Package store is for authors of stores. A user of limits needs nothing of it: package
// core has a store in memory, and package redisstream has one in Redis Streams.
//
// A [Store] keeps the logs of admitted requests, and decides by them. It also keeps the
// rules that all processes share, as text that it does not read. What a store can do
// besides, it says by the optional interfaces: [Sharder], [Reporter], [Registrar] and
// [Bounded]. A store implements only those that are true of it. Later versions may add
// optional interfaces, and fields to [Log], [Charge] and [Usage]. They add no method to
// [Store].
//
// Package storetest is the suite that every store must pass. It defines what a store
// does, to the millisecond.
package store
