-- Migration: 20260118000001_modify_profiles.sql

ALTER TABLE profiles 
ADD COLUMN IF NOT EXISTS notification_prefs JSONB DEFAULT '{
  "job_complete": true,
  "job_failed": true,
  "low_credits": true,
  "marketing": false
}'::jsonb;

ALTER TABLE profiles 
ADD COLUMN IF NOT EXISTS stripe_customer_id TEXT;

ALTER TABLE profiles 
ADD COLUMN IF NOT EXISTS updated_at TIMESTAMPTZ DEFAULT NOW();

-- Add index for Stripe lookups
CREATE INDEX IF NOT EXISTS idx_profiles_stripe 
ON profiles(stripe_customer_id) 
WHERE stripe_customer_id IS NOT NULL;
