"""Site tables as operators have them (CSV, GeoJSON) become the sites of a scenario in metres."""
