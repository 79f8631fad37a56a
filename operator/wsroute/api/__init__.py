"""The contract with users: the models of the custom resources, their rules, conditions and CRDs. Pure."""
