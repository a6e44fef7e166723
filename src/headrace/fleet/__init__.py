"""Sites and appliances: what is wanted of them, what they report, what we concluded."""
