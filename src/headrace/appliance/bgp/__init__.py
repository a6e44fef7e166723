"""Routes that networks announce to this appliance: settings, the speaker beside the agent, and what it has heard."""
