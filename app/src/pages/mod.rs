//! One page an address.

use leptos::prelude::*;

macro_rules! stub {
    ($($name:ident)+) => {
        $(pub(crate) fn $name() -> AnyView { view! { <h1>{stringify!($name)}</h1> }.into_any() })+
    };
}
stub!(jobs new_job job cancel delete removals removal audit sign_in not_found);
