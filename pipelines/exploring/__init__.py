"""Looking around: lists of everything by any field, who a picture shows, what a threshold would change, exports."""
