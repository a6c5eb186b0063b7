package partner

import (
	"fmt"
	"iter"

	"github.com/partnerkit/partnerkit/internal/store"
)

// PageRequest asks for Limit items (default 50, at most 500) behind an opaque cursor.
type PageRequest struct {
	After string
	Limit int
}

// Page is one page of a list, newest first, those of one instant in any order; an empty Next ends it. The cursor is a position, not a right: scope is checked on each
// call, and a cursor of another list or filter is [ErrInvalid]. Rows that come or go while paging cause no gap and no repeat.
type Page[T any] struct {
	Items []T
	Next  string
}

// Each walks all pages of a list and stops at the first error:
//
//	for p, err := range partner.Each(func(r partner.PageRequest) (partner.Page[partner.Partner], error) {
//		return reg.Partners.List(ctx, partner.PartnerFilter{}, r)
//	}) { … }
func Each[T any](list func(PageRequest) (Page[T], error)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		next := PageRequest{Limit: store.MaxLimit}
		for {
			page, err := list(next)
			if err != nil {
				var none T
				yield(none, err)
				return
			}
			for _, item := range page.Items {
				if !yield(item, nil) {
					return
				}
			}
			if page.Next == "" {
				return
			}
			next.After = page.Next
		}
	}
}

// pageOf is the parsed form of a PageRequest for one list.
type pageOf struct {
	list    string
	place   store.Place
	started bool
	limit   int
}

// at reads the request for the list of that name and filter.
func (r PageRequest) at(name string, filter ...any) (pageOf, error) {
	p := pageOf{list: fmt.Sprintf("%s%#v", name, filter)}
	var err error
	if p.limit, err = store.Limit(r.Limit); err != nil {
		return p, err
	}
	p.place, p.started, err = store.ParseCursor(r.After, p.list)
	return p, err
}

// pageFrom turns limit+1 rows into a page.
func pageFrom[R, T any](p pageOf, rows []R, place func(R) store.Place, item func(R) T) Page[T] {
	var page Page[T]
	if len(rows) > p.limit {
		rows = rows[:p.limit]
		page.Next = store.Cursor(place(rows[p.limit-1]), p.list)
	}
	page.Items = make([]T, len(rows))
	for i, r := range rows {
		page.Items[i] = item(r)
	}
	return page
}
