"""From the KPIs of a request to the shares of an answer: policies, messages and fallbacks."""
