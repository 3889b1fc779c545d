"""Child processes: started or forked, talked with, limited, and ended with the app."""
