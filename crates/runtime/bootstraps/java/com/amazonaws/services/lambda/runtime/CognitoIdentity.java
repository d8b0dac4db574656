package com.amazonaws.services.lambda.runtime;

/** The identity that the caller has with Cognito. */
public interface CognitoIdentity {
    String getIdentityId();

    String getIdentityPoolId();
}
