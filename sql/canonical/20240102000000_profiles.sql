-- Migration: 20240102000000_profiles.sql
-- The baseline that the PRD (section 4) starts from.

CREATE TABLE profiles (
  id UUID PRIMARY KEY REFERENCES auth.users(id),
  display_name TEXT,
  avatar_url TEXT,
  created_at TIMESTAMPTZ DEFAULT NOW()
);
