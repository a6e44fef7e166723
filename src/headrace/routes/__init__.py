"""What networks announce to appliances over BGP: routes, sessions, and what of them counts. Pure."""
