"""Questions asked of many trainings. A study turns configs into a record of results."""
