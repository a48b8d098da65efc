"""3SPO itself: what to sample next and what it earned. Neither torch nor TRL; a table can be trained as well."""
