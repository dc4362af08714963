"""The client side of OpenID Connect: what the provider says of itself, its keys, its tokens."""
