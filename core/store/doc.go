// Package store is for authors of stores. Users of limits do not need it: package core
// has a store in memory, and package redisstream has one in Redis Streams.
//
// A [Store] keeps the logs of admitted requests, and decides by them. It also keeps the
// rules that all processes share, as text that it does not read. The optional
// interfaces say what else a store can do: [Sharder], [Reporter], [Registrar],
// [Bounded], [Partial], [Leaser] and [Slotter]. A store implements only the interfaces that apply
// to it. Later versions may add optional interfaces, and fields to [Log], [Charge] and
// [Usage]. They do not add methods to [Store].
//
// Package storetest is the suite that every store must pass. It defines what a store
// does, to the millisecond.
package store
