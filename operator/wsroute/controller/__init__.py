"""The operator's process: watches, passes, rollouts, statuses. The only package that knows kopf."""
