// A long list, a page of it at a time: what is drawn has a bound, however long the list is and however often it changes.
import { type ReactNode, useState } from "react";
import { grouped } from "./format";

/** Rows of a page: what one scrolls through without losing one's place. */
const ROWS = 50;

interface Page<T> {
  rows: T[];
  /** Items before them. */
  first: number;
  /** The way to the others; nothing where there are none. */
  pager: ReactNode;
}

/** The page of `items` that one is at: the first again when `what` is asked for changes. */
export function usePage<T>(items: T[], label: string, what: string): Page<T> {
  const [at, setAt] = useState({ what, page: 0 });
  const pages = Math.max(1, Math.ceil(items.length / ROWS));
  const page = at.what === what ? Math.min(at.page, pages - 1) : 0;
  const first = page * ROWS;
  const rows = items.slice(first, first + ROWS);
  const to = (next: number) => next >= 0 && next < pages && setAt({ what, page: next });
  const turn = (name: string, next: number) => (
    // A button that cannot go on keeps the keyboard where it is.
    <button type="button" className="button" aria-disabled={next < 0 || next >= pages || next === page} onClick={() => to(next)}>{name}</button>
  );
  const pager = pages > 1 && (
    <nav className="pager" aria-label={`Pages of ${label}`}>
      {turn("First", 0)}
      {turn("Previous", page - 1)}
      <span className="num" role="status" data-testid="page-at">{grouped(first + 1)} to {grouped(first + rows.length)} of {grouped(items.length)}</span>
      {turn("Next", page + 1)}
      {turn("Last", pages - 1)}
    </nav>
  );
  return { rows, first, pager };
}

/** Says which of how many a list's item is. */
export const place = (index: number, total: number) => ({ "aria-posinset": index + 1, "aria-setsize": total });
/** The same of a table's row, below one row of heads. */
export const rowPlace = (index: number) => ({ "aria-rowindex": index + 2 });
export const rowCount = (total: number) => ({ "aria-rowcount": total + 1 });
