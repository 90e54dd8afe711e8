"""Who may do what: users with their tokens, organisations with their members."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import Literal

Role = Literal["read", "write", "admin"]


@dataclass(frozen=True)
class Identity:
    """A user as known by a token.

    Attributes:
        name: The user.
        role: What the token allows: to read, or to write as well.
    """

    name: str
    role: Literal["read", "write"]


@dataclass(frozen=True)
class User:
    """A user, with a token of either kind; they look like the Hub's, and are drawn anew for every server."""

    name: str
    token: str = field(default_factory=lambda: f"hf_{secrets.token_hex(17)}", repr=False)
    read_token: str = field(default_factory=lambda: f"hf_{secrets.token_hex(17)}", repr=False)


@dataclass
class Accounts:
    """All users and organisations.

    Attributes:
        users: By name.
        organizations: Name of each organisation to the role of each of its members.
    """

    users: dict[str, User] = field(default_factory=dict)
    organizations: dict[str, dict[str, Role]] = field(default_factory=dict)

    def user(self, name: str) -> User:
        """The user of this name, who is entered at the first call."""
        return self.users.setdefault(name, User(name))

    def identify(self, token: str) -> Identity | None:
        """Whose token it is; None if it is nobody's."""
        for user in self.users.values():
            if token in (user.token, user.read_token):
                return Identity(user.name, "write" if token == user.token else "read")
        return None

    def belongs(self, sender: Identity | None, namespace: str) -> bool:
        """Whether somebody sees the private repositories of a namespace: it is theirs, or they are a member."""
        if sender is None:
            return False
        return sender.name == namespace or sender.name in self.organizations.get(namespace, {})

    def may_write(self, sender: Identity | None, namespace: str) -> bool:
        """Whether somebody may create and change repositories of a namespace with the token that they used."""
        if sender is None or sender.role != "write":
            return False
        return sender.name == namespace or self.organizations.get(namespace, {}).get(sender.name) in ("write", "admin")
