//! `hookweir events --search`: stored events with a text in their bodies, the newest first.

use super::client::AdminClient;
use super::events::Listing;
use crate::cli::{Failure, say};
use crate::operate::{SearchQuestion, SearchView};
use crate::store::catalog::PAGE;

/// Searches answer by answer, until the listing is full or everything was searched.
pub(super) fn run(
    client: &AdminClient,
    mut question: SearchQuestion,
    mut listing: Listing,
) -> Result<(), Failure> {
    let (mut events, mut bytes, mut oldest) = (0, 0, None);
    while listing.left > 0 {
        question.limit = Some(listing.left.min(PAGE));
        let page: SearchView = client.get("search", &question.parameters())?;
        listing.take(&page.events)?;
        events += page.searched;
        bytes += page.searched_bytes;
        oldest = page.oldest.or(oldest);
        question.before = page.next;
        if question.before.is_none() {
            break;
        }
        say::note(format_args!("{events} events searched so far"));
    }
    listing.print();
    let back = oldest.map(|at| format!(", back to {at}"));
    let rest = match question.before {
        Some(_) => "older ones were not; --limit and --to show them",
        None => "all that fit were searched",
    };
    say::note(format_args!(
        "{events} events and {bytes} bytes were searched{}; {rest}. The record of the service says so, without the text",
        back.unwrap_or_default()
    ));
    Ok(())
}
